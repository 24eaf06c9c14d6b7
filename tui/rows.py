"""What a store becomes on the screen: rows of cells. Pure, so that they are tested without a terminal."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from rich.text import Text

from tui import format as show
from tui.store import Store, log_key

Rows = Iterable["Row"]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table."""

    key: str
    cells: tuple[Text, ...]
    fault: bool = False
    """Something about it needs a look."""

    @property
    def text(self) -> str:
        """What filters search."""
        return " ".join(cell.plain for cell in self.cells)


_TONES: Final = {
    "good": ("●", "green"),
    "bad": ("✕", "red"),
    "warn": ("▲", "yellow"),
    "info": ("◐", "cyan"),
    "calm": ("○", "dim"),
}
_TONE_OF: Final = {
    "serving": "good",
    "running": "good",
    "live": "good",
    "connecting": "info",
    "succeeded": "good",
    "current": "good",
    "filled": "good",
    "repaired": "good",
    "active": "good",
    "failed": "bad",
    "failing": "bad",
    "not serving": "bad",
    "provider down": "bad",
    "down": "bad",
    "rejected": "bad",
    "denied": "bad",
    "unreachable": "bad",
    "error": "bad",
    "halted": "bad",
    "degraded": "warn",
    "warning": "warn",
    "partial": "warn",
    "backing off": "warn",
    "stale": "warn",
    "reconnecting": "warn",
    "behind": "warn",
    "gaps": "warn",
    "open": "warn",
    "unrepairable": "warn",
    "unresolved": "warn",
    "reduce only": "warn",
    "pending": "info",
    "starting": "info",
    "warming up": "info",
    "backfilling": "info",
    "throttled": "info",
    "repairing": "info",
    "info": "info",
    "accepted": "info",
    "submitted": "info",
}


def state(word: str) -> Text:
    """Return a state as glyph, colour and word."""
    glyph, style = _TONES[_TONE_OF.get(word, "calm")]
    return Text(f"{glyph} {word}", style=style)


def faulty(word: str) -> bool:
    """Tell whether a state needs a look."""
    return _TONE_OF.get(word, "calm") in ("bad", "warn")


def _texts(*values: str | Text) -> tuple[Text, ...]:
    return tuple(value if isinstance(value, Text) else Text(value) for value in values)


def _right(value: str) -> Text:
    return Text(value, justify="right")


def pulse_rows(store: Store, now: dt.datetime) -> Rows:
    """One row a service, then one a part of it."""
    for service in ("registry", "datahub", "strategy"):
        info, metrics = store.systems.get(service), store.metrics.get(service)
        link = store.links.get(f"{service} state")
        asking = "systems" not in store.loaded or (link is not None and link.state == "connecting")
        word = show.word(info.state) if info else "connecting" if asking else "unreachable"
        cells = _texts(
            Text(service, style="bold"),
            state(word),
            show.age(info.start_time, now).removesuffix(" ago") if info else show.MISSING,
            info.version if info else show.MISSING,
            _right(show.size(metrics.memory_bytes) if metrics else show.MISSING),
            _right(f"{100 * metrics.cpu_share:.0f} %" if metrics else show.MISSING),
            _right(
                f"{1000 * metrics.latency_p50_seconds:.1f} / {1000 * metrics.latency_p99_seconds:.1f}"
                if metrics
                else show.MISSING
            ),
            _right(show.count(metrics.calls_in_flight) if metrics else show.MISSING),
            Text(show.sparkline(list(store.loads.get(service, ()))), style="cyan"),
        )
        yield Row(service, cells, fault=faulty(word))
        for part in info.parts if info else ():
            word = show.word(part.state)
            blank = ("",) * 6
            yield Row(
                f"{service}/{part.name}", _texts(f"  {part.name}", state(word), *blank, part.detail), fault=faulty(word)
            )


def provider_rows(store: Store, now: dt.datetime) -> Rows:
    """One row a provider, running or not."""
    for name in sorted({*store.codes, *store.providers}):
        code, running = store.codes.get(name), store.providers.get(name)
        word = show.word(running.state) if running else "idle"
        process = running.process if running else None
        yield Row(
            name,
            _texts(
                Text(name, style="bold"),
                "built in" if code and code.built_in else f"v{code.active_version}" if code else show.MISSING,
                state(word),
                ", ".join(sorted({show.word(feed.state) for feed in running.feeds})) if running else show.MISSING,
                show.age(running.last_row_time, now) if running else show.MISSING,
                _right(show.count(running.symbol_count) if running else show.MISSING),
                _right(show.size(process.memory_bytes) if process else show.MISSING),
                _right(show.count(process.restarts) if process else show.MISSING),
                running.detail if running else "",
            ),
            fault=faulty(word),
        )


def selected(selector: Any) -> str:
    """Return what a subscription selects, in a few words."""
    if selector is None:
        return show.MISSING
    if selector.symbol or selector.common_symbol:
        return str(selector.symbol or selector.common_symbol)
    if selector.index:
        return f"index {selector.index}"
    names = selector.symbols.symbols if selector.symbols else []
    names = names or (selector.common_symbols.common_symbols if selector.common_symbols else [])
    return f"{', '.join(names[:3])}{' …' if len(names) > 3 else ''}" if names else "assets by filter"


def subscription_rows(store: Store, now: dt.datetime) -> Rows:
    """One row a subscription."""
    for key, one in store.subscriptions.items():
        status = one.status
        word = show.word(status.health) if status else "pending"
        kinds = " + ".join(kind for kind, wanted in (("history", one.historical), ("live", one.live)) if wanted)
        yield Row(
            key,
            _texts(
                Text(selected(one.selector), style="bold"),
                one.provider,
                one.interval,
                kinds,
                state(word),
                show.age(status.last_bar_time, now) if status else show.MISSING,
                _right(show.count(status.bar_count) if status else show.MISSING),
                _right(show.count(status.gap_count) if status else show.MISSING),
                show.age(status.next_run_time, now) if status and status.next_run_time else show.MISSING,
            ),
            fault=faulty(word),
        )


def run_rows(store: Store, now: dt.datetime) -> Rows:
    """One row a run, the newest first."""
    oldest = dt.datetime.min.replace(tzinfo=dt.UTC)
    for one in sorted(store.runs.values(), key=lambda run: run.create_time or oldest, reverse=True):
        word = show.word(one.state)
        series = one.series.key if one.series else None
        took = (one.end_time or now) - one.start_time if one.start_time else None
        yield Row(
            one.run_id,
            _texts(
                state(word),
                f"{series.symbol} {series.interval}" if series else one.index or show.word(one.kind),
                one.provider,
                show.word(one.trigger),
                *map(_right, _changes(one)),
                _right(str(one.attempt_count)),
                show.age(one.start_time, now) if one.start_time else show.MISSING,
                f"{took.total_seconds():.1f}s" if took else show.MISSING,
                _outcome(one),
            ),
            fault=faulty(word),
        )


def _outcome(run: Any) -> str:
    """Return why a run failed, or what there is to say of one that did not."""
    if run.error:
        return str(run.error.message)
    if run.maintenance:
        return f"{run.maintenance.partitions_made} partitions made, {run.maintenance.partitions_dropped} dropped"
    return run.index_sync.message if run.index_sync else ""


def _changes(run: Any) -> tuple[str, str, str]:
    """Return how many rows of a run are new, changed and bad: bars, or the members of an index."""
    counts, synced = run.counts, run.index_sync
    if run.index:
        if not synced:
            return (show.MISSING,) * 3
        return show.count(synced.added), show.count(synced.removed + synced.reweighted), show.count(len(synced.errors))
    if not counts:
        return (show.MISSING,) * 3
    return show.count(counts.inserted), show.count(counts.updated), show.count(counts.quarantined)


def tick_rows(store: Store, now: dt.datetime) -> Rows:
    """One row a live symbol."""
    for key in sorted(store.prices):
        one = store.prices[key]
        decimals = one.series.price_decimals if one.series else None
        direction = store.directions.get(key, 0)
        arrow, style = {1: ("↑", "green"), -1: ("↓", "red")}.get(direction, (" ", ""))
        changed = one.change_ratio
        recent = list(store.recent.get(key, ()))
        rising = len(recent) > 1 and recent[-1] >= recent[0]
        word = show.word(one.feed_state)
        dim = "dim" if faulty(word) else ""
        yield Row(
            key,
            _texts(
                Text(one.series.key.symbol if one.series and one.series.key else key, style=f"bold {dim}"),
                Text(f"{show.price(one.last, decimals)} {arrow}", style=style or dim, justify="right"),
                Text(show.price(one.bid, decimals), style=dim, justify="right"),
                Text(show.price(one.ask, decimals), style=dim, justify="right"),
                Text(
                    show.ratio(changed),
                    style="green" if (changed or 0) > 0 else "red" if (changed or 0) < 0 else dim,
                    justify="right",
                ),
                Text(show.sparkline(recent), style="green" if rising else "red"),
                _right(show.price(one.session_high, decimals)),
                _right(show.price(one.session_low, decimals)),
                _right(show.price(one.session_vwap, decimals)),
                _right(show.count(one.session_trades)),
                show.age(one.last_time, now),
                state(word),
                one.series.key.provider if one.series and one.series.key else "",
                _right(show.spread(one.bid, one.ask, decimals)),
            ),
            fault=faulty(word),
        )


def gap_rows(store: Store, _now: dt.datetime) -> Rows:
    """One row a gap."""
    for key, one in store.gaps.items():
        word = show.word(one.state)
        name = one.key
        yield Row(
            key,
            _texts(
                Text(f"{name.symbol} {name.interval}" if name else str(one.series_id), style="bold"),
                name.provider if name else "",
                show.clock(_time(one.start_time_ns)),
                show.clock(_time(one.end_time_ns)) if one.end_time_ns else "still open",
                _right(show.count(one.missing_slots)),
                state(word),
                show.word(one.cause),
                one.evidence,
            ),
            fault=True,
        )


def _time(nanoseconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(nanoseconds / 1e9, dt.UTC)


def strategy_rows(store: Store, now: dt.datetime) -> Rows:
    """One row an instance."""
    for key, one in store.instances.items():
        word, summary = show.word(one.state), one.summary
        yield Row(
            key,
            _texts(
                Text(one.display_name or key, style="bold"),
                f"{one.strategy} v{one.code_version}",
                show.word(one.mode),
                state(word),
                _right(show.decimal(summary.equity.amount) if summary and summary.equity else show.MISSING),
                _right(show.decimal(summary.total_pnl.amount) if summary and summary.total_pnl else show.MISSING),
                _right(show.count(summary.positions) if summary else show.MISSING),
                _right(show.count(summary.fills_today) if summary else show.MISSING),
                _right(show.count(summary.denials_today) if summary else show.MISSING),
                Text(show.sparkline(list(summary.equity_sparkline) if summary else [])),
                show.age(summary.last_data_time, now) if summary else show.MISSING,
            ),
            fault=faulty(word),
        )


def order_rows(store: Store, now: dt.datetime) -> Rows:
    """Positions first, then orders, the newest first."""
    for key, held in store.positions.items():
        cells = _texts(
            Text("position", style="cyan"), Text(held.symbol, style="bold"), _owner(held), "",
            _right(_number(held.quantity)),
            _right(show.decimal(held.average_price)), _right(show.decimal(held.unrealised_pnl)), "",
            show.age(held.update_time, now),
        )  # fmt: skip
        yield Row(f"position/{key}", cells)
    oldest = dt.datetime.min.replace(tzinfo=dt.UTC)
    for one in sorted(store.orders.values(), key=lambda order: order.create_time or oldest, reverse=True):
        word, spec = show.word(one.status), one.spec
        cells = _texts(
            Text("order"), Text(spec.symbol if spec else "", style="bold"), _owner(one),
            f"{show.word(spec.side)} {show.word(spec.type)}" if spec else "",
            _right(_number(spec.quantity) if spec else ""),
            _right(_order_price(one)), "", state(word), show.age(one.create_time, now),
        )  # fmt: skip
        yield Row(one.client_order_id, cells, fault=faulty(word))


def _owner(one: Any) -> str:
    return f"{one.account_id} · {one.instance_id}" if one.instance_id else str(one.account_id)


def _order_price(one: Any) -> str:
    """Return what an order filled at; of one that waits, what it waits for."""
    if one.average_fill_price is not None or one.spec is None:
        return show.decimal(one.average_fill_price)
    waits = [each for each in (one.spec.limit_price, one.spec.trigger_price) if each is not None]
    return _number(waits[0]) if waits else show.MISSING


def _number(message: Any) -> str:
    if message is None or not message.value:
        return show.MISSING
    text = str(message.value)
    # Zeros behind the point say nothing: 100.00000000 is 100.
    return text.rstrip("0").rstrip(".") if "." in text else text


def log_rows(store: Store, _now: dt.datetime) -> Rows:
    """One row a line, the newest first."""
    styles = {"error": "red", "critical": "red", "warning": "yellow", "debug": "dim"}
    oldest = dt.datetime.min.replace(tzinfo=dt.UTC)
    # Each service sends the end of its log at once: what came last is not what happened last.
    for line in sorted(store.logs, key=lambda one: one.time or oldest, reverse=True):
        fields = " ".join(f"{key}={value}" for key, value in (line.fields.to_dict() if line.fields else {}).items())
        style = styles.get(line.level, "")
        key = log_key(line)
        texts = _texts(
            show.clock(line.time),
            line.service,
            Text(line.level, style=style),
            line.logger,
            line.event,
            Text(fields, style="dim"),
        )
        yield Row(key, texts, fault=line.level in ("warning", "error", "critical"))


def event_rows(store: Store, _now: dt.datetime) -> Rows:
    """One row an event, the newest first."""
    for one in store.events:
        word = show.word(one.severity)
        actor = one.actor.principal if one.actor else one.service
        texts = _texts(
            show.clock(one.time), state(word), one.kind, f"{one.subject_type} {one.subject_name}", one.message, actor
        )
        yield Row(str(one.event_id), texts, fault=faulty(word))
