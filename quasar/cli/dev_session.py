"""One provider in the jail for the time of one command, and what it answered, in rows."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from quasar import errors
from quasar.clock import SystemClock
from quasar.model.bar_checks import check_bars
from quasar.model.bars import Bar
from quasar.model.instants import TimeRange, from_ns, to_ns
from quasar.model.intervals import Interval
from quasar.model.ticks import Tick
from quasar.plugins.archive import read_sources
from quasar.plugins.code import CodeVersion
from quasar.plugins.errands import Errands
from quasar.plugins.foreign import foreign_of
from quasar.plugins.manifest import Kind, Manifest
from quasar.plugins.pool import PluginPool
from quasar.plugins.process import ProcessSettings
from quasar.plugins.provider import BarRequest, LiveSymbol, ProviderHandle
from quasar.plugins.reading.code import kind_of
from quasar.provider import ConnectionNotice, GapNotice, RejectedRow, SymbolNotice

_BARS = 100
_REST_S = 0.5
"""Time for the last messages of a recording to come through."""


@dataclass(slots=True)
class Tried:
    """What came of it."""

    heads: tuple[str, ...]
    rows: list[tuple[object, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What else there is to say, for standard error."""
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """The bars that are wanted; what is absent is chosen."""

    interval: str | None
    start: dt.datetime | None
    end: dt.datetime | None

    def resolved(self, offered: Sequence[str], now_ns: int) -> tuple[Interval, TimeRange]:
        """Return the interval and the range.

        Raises:
            InvalidArgument: The class does not declare the interval, or the range holds nothing.
        """
        interval = Interval.parse(self.interval or _usual(offered))
        if offered and interval.code not in offered:
            raise errors.InvalidArgument(
                f"the interval must be one that the class declares ({', '.join(offered)}), was {interval.code}"
            )
        end = to_ns(self.end) if self.end else now_ns
        step = interval.length_ns or 31 * 86_400_000_000_000
        start = to_ns(self.start) if self.start else interval.floor_ns(end - _BARS * step)
        if start >= end:
            raise errors.InvalidArgument(f"the start must be before the end, was {_span_text(start, end)}")
        return interval, TimeRange(start, end)


def _span_text(start_ns: int, end_ns: int) -> str:
    return f"{from_ns(start_ns):%Y-%m-%d %H:%M} to {from_ns(end_ns):%Y-%m-%d %H:%M} UTC"


def _usual(offered: Sequence[str]) -> str:
    day = Interval.parse("1d").length_ns
    fitting = [one for one in offered if 0 < Interval.parse(one).length_ns <= day]
    if not offered:
        raise errors.FailedPrecondition("the provider must declare intervals, has none; set `intervals` on the class")
    return fitting[-1] if fitting else offered[0]


def chosen_kind(kind: str | None, file_name: str, source: bytes) -> Kind:
    """Return what a file holds: what was said, else what its classes extend."""
    if kind:
        return Kind(kind)
    try:
        foreign = foreign_of(file_name, source)
    except errors.CodeRejected:
        return Kind.PROVIDER  # the check says what is wrong
    return foreign.kind if foreign is not None else kind_of(read_sources(file_name, source)[0])


def typed(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return settings from the command line: numbers and booleans as such, everything else as text."""
    found: dict[str, Any] = {}
    for name, text in pairs:
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        found[name] = value if isinstance(value, bool | int | float | str) else text
    return found


@dataclass(slots=True)
class Session:
    """One provider that runs for one command."""

    provider: ProviderHandle
    now_ns: int
    """The time that the command counts from: now, or when a recording was made."""
    over: asyncio.Event | None = None
    """Set when a recording has been played to its end; None where nothing is played."""


Traffic = Callable[[ProcessSettings], AbstractAsyncContextManager["Way"]]
"""What `quasar dev record` and `quasar dev replay` put between a provider and its vendor."""


@dataclass(frozen=True, slots=True)
class Way:
    """How the provider reaches its vendor."""

    settings: ProcessSettings
    now_ns: int
    over: asyncio.Event | None = None
    preferences: Mapping[str, Any] = field(default_factory=dict)
    """Addresses of this machine that stand for the vendor's."""


@asynccontextmanager
async def straight(settings: ProcessSettings) -> AsyncIterator[Way]:
    """Let the provider reach its vendor as it will on the platform."""
    yield Way(settings, SystemClock().time_ns())


@contextlib.contextmanager
def log_beside() -> Iterator[None]:
    """Write the log to standard error, in the block: standard output is for what was asked for, which programs read."""
    former = structlog.get_config()
    structlog.reset_defaults()  # whatever this process logged to before, and from which level on
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),  # not what the platform notes for itself
    )
    try:
        yield
    finally:
        structlog.configure(**former)


async def try_out(
    file: Path,
    secrets: Mapping[str, str],
    preferences: Mapping[str, Any],
    ask: Callable[[Session], Awaitable[Tried]],
    traffic: Traffic | None = None,
) -> Tried:
    """Run the provider of a file in the jail and ask it."""
    source = file.read_bytes()  # noqa: ASYNC240 - one small file, before anything else runs
    with log_beside(), tempfile.TemporaryDirectory(prefix="quasar-dev-") as folder:
        async with (
            (traffic or straight)(ProcessSettings(service="quasar dev")) as way,
            PluginPool(Path(folder), settings=way.settings) as pool,
        ):
            code = CodeVersion(
                kind=Kind.PROVIDER,
                name=file.stem,
                source=source,
                file_name=file.name,
                secrets=secrets,
                preferences={**preferences, **way.preferences},
            )
            provider = await pool.provider(code)
            need_declared(provider.manifest, secrets, preferences)
            return await ask(Session(provider, way.now_ns, way.over))


def need_declared(manifest: Manifest, secrets: Iterable[str], preferences: Iterable[str]) -> None:
    """Pass settings that the class declares: another one would change nothing, and nobody would notice.

    Raises:
        InvalidArgument: One of them has a name that the class does not know.
    """
    known = {
        "preferences": ("--set", dict.fromkeys(field.path.partition(".")[0] for field in manifest.preferences)),
        "secrets": ("--secret", dict.fromkeys(secret.name for secret in manifest.secrets)),
    }
    for what, given in (("preferences", preferences), ("secrets", secrets)):
        option, declared = known[what]
        if unknown := [name for name in given if name not in declared]:
            names = ", ".join(declared) or "none"
            raise errors.InvalidArgument(
                f"{option}: {what} of {manifest.name} are {names}; it has no {', '.join(unknown)}"
            )


async def bars(session: Session, symbols: Sequence[str], span: Span, limit: int) -> Tried:
    """Fetch bars, and look at them as the platform does before it stores them."""
    provider = session.provider
    interval, wanted = span.resolved(provider.manifest.intervals, session.now_ns)
    tried = Tried(("symbol", "open_time", "open", "high", "low", "close", "volume"))
    requests = [BarRequest(symbol, interval.code, wanted.start_ns, wanted.end_ns) for symbol in symbols]
    rows: dict[int, list[tuple[object, ...]]] = {index: [] for index in range(len(symbols))}
    flaws: dict[int, Counter[str]] = {index: Counter() for index in rows}
    async for batch in provider.fetch_bars(requests):
        symbol = symbols[batch.request]
        for bar in batch.columns.bars() if batch.columns is not None else ():
            when = f"{bar.open_time:%Y-%m-%d %H:%M:%S}"
            volume = "" if bar.volume is None else bar.volume
            rows[batch.request].append((symbol, when, bar.open, bar.high, bar.low, bar.close, volume))
        if batch.columns is not None:
            check = check_bars(batch.columns, wanted, interval=interval)
            flaws[batch.request].update(reason for _, reason in check.rejected())
        tried.notes += [f"{symbol}: rejected: {row.detail}" for row in batch.rejected]
        if batch.error is not None:
            tried.failed = True
            tried.notes.append(f"{symbol}: {type(batch.error).__name__}: {batch.error.message}")
    for index, found in rows.items():
        tried.rows += found[-limit:]
        asked = _span_text(wanted.start_ns, wanted.end_ns)
        tried.notes.append(f"{symbols[index]}: {len(found)} bars of {interval.code}; asked for was {asked}")
        for reason, count in flaws[index].items():
            tried.notes.append(f"{symbols[index]}: {count} of {len(found)} would not be stored: {reason}")
    return tried


TICK_HEADS = ("symbol", "event_time", "kind", "price", "size", "side", "bid", "ask")


async def ticks(
    session: Session,
    symbols: Sequence[str],
    limit: int,
    seconds: float,
    *,
    show: Callable[[tuple[object, ...]], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Tried:
    """Follow live ticks; of a class that streams bars only, those of its first interval.

    Args:
        session: The provider.
        symbols: What to follow.
        limit: Rows after which it ends.
        seconds: Time after which it ends.
        show: Shows each row as it comes; absent: they are returned.
        say: Tells each note as it comes; absent: they are returned.
    """
    tried = Tried(TICK_HEADS)
    add, note = show or tried.rows.append, say or tried.notes.append
    left = limit
    manifest = session.provider.manifest
    pushed = () if manifest.streams_ticks else manifest.intervals[:1]
    wanted = [LiveSymbol(symbol, quotes=True, book_top=True, intervals=pushed) for symbol in symbols]
    with contextlib.suppress(TimeoutError):
        async with (
            asyncio.timeout(seconds) as patience,
            _until(session.over, patience),
            aclosing(session.provider.stream_live(wanted)) as batches,
        ):
            async for batch in batches:
                for text in filter(None, map(_notice, batch.notices)):
                    note(text)
                found = [_tick(symbol, tick) for symbol, columns in batch.ticks.items() for tick in columns.ticks()]
                found += [_bar(*key, bar) for key, columns in batch.bars.items() for bar in columns.bars()]
                for row in found[:left]:
                    add(row)
                left -= len(found)
                if left <= 0:
                    break
    note(f"{limit - max(left, 0)} rows" + (f" in {seconds:g} s" if left > 0 and session.over is None else ""))
    return tried


@asynccontextmanager
async def _until(over: asyncio.Event | None, patience: asyncio.Timeout) -> AsyncIterator[None]:
    """Let a patience end a moment after a recording has."""

    async def cut() -> None:
        assert over is not None
        await over.wait()
        patience.reschedule(asyncio.get_running_loop().time() + _REST_S)

    if over is None:
        yield
        return
    async with Errands() as errands:
        errands.add(cut())
        yield


def _tick(symbol: str, tick: Tick) -> tuple[object, ...]:
    values = (tick.price, tick.size, tick.side.name.lower(), tick.bid_price, tick.ask_price)
    when = f"{from_ns(tick.event_time_ns):%H:%M:%S.%f}"
    return (symbol, when, tick.kind.name.lower(), *("" if value is None else value for value in values))


def _bar(symbol: str, interval: str, bar: Bar) -> tuple[object, ...]:
    volume = "" if bar.volume is None else bar.volume
    return (symbol, f"{bar.open_time:%Y-%m-%d %H:%M}", f"bar {interval}", bar.close, volume, "", "", "")


def _notice(notice: object) -> str:
    if isinstance(notice, SymbolNotice):
        return f"{notice.symbol}: {notice.state.name.lower()} {notice.message}".rstrip()
    if isinstance(notice, ConnectionNotice):
        return f"connection {notice.state.name.lower()}: {notice.error}" if notice.error else ""
    if isinstance(notice, GapNotice):
        return f"gap: {notice.detail}"
    return f"rejected: {notice.detail}" if isinstance(notice, RejectedRow) else ""


async def symbols(session: Session, exchange: str, limit: int) -> Tried:
    """List symbols."""
    tried = Tried(("symbol", "name", "asset_class", "exchange", "base", "quote"))
    total = 0
    async for page in session.provider.list_symbols(exchange):
        total += len(page)
        for one in page[: limit - len(tried.rows)] if len(tried.rows) < limit else ():
            values = (one.name, one.asset_class, one.exchange, one.base_currency, one.quote_currency)
            tried.rows.append((one.symbol, *(value or "" for value in values)))
        tried.notes += _rejected(page.rejected)
    tried.notes.append(f"{total} symbols" + (f", the first {limit} are shown" if total > limit else ""))
    return tried


async def constituents(session: Session, index: str, day: dt.date | None) -> Tried:
    """Show the members of an index."""
    tried = Tried(("symbol", "weight", "name"))
    members = await session.provider.constituents(index, day)
    tried.rows = [(one.symbol, "" if one.weight is None else f"{one.weight:.6f}", one.name or "") for one in members]
    tried.notes += _rejected(members.rejected)
    as_of = f" of {members.effective_date}" if members.effective_date else ""
    tried.notes.append(f"{len(members)} constituents{as_of}")
    return tried


def _rejected(rows: Iterable[RejectedRow]) -> list[str]:
    return [f"rejected: {row.symbol + ': ' if row.symbol else ''}{row.detail}" for row in rows]
