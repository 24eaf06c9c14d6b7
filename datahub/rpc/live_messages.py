"""Live values as messages of the contract."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from datahub.live.gaps import FeedGap
from datahub.live.prices import Quote
from datahub.live.states import FeedFacts, FeedState
from datahub.live.symbols import LiveSeries
from datahub.rpc.series_messages import series_info, series_key
from datahub.series.series import Series
from datahub.stream.selection import Item
from datahub.stream.topic import Content, Topic
from quasar.clock import Clock
from quasar.model.bars import BarOrigin
from quasar.rpc.wellknown import timestamp_ns
from quasar_proto.common.v1 import errors_pb2
from quasar_proto.datahub.v1 import feed_pb2, gap_pb2, market_data_pb2, price_pb2, stream_pb2


def gap_message(gap: FeedGap) -> gap_pb2.Gap:
    """Return a hole of a feed as a message."""
    return gap_pb2.Gap(
        gap_id=str(gap.gap_id or ""),
        series_id=gap.series_id,
        key=series_key(gap.name),
        start_time_ns=gap.start_ns,
        end_time_ns=gap.end_ns,
        state=gap_pb2.GapState.Value(f"GAP_STATE_{gap.state}"),
        cause=gap_pb2.GapCause.Value(f"GAP_CAUSE_{gap.cause}"),
        evidence=gap.evidence,
        attempts=gap.attempts,
        detect_time=timestamp_ns(gap.detect_ns) if gap.detect_ns else None,
        update_time=timestamp_ns(gap.update_ns) if gap.update_ns else None,
        repaired_from=gap.name.provider if gap.state == "REPAIRED" else "",
    )


@dataclass(frozen=True, slots=True)
class SymbolStatus:
    """How the feed of a symbol is."""

    feed_state: FeedState
    refusal: str | None = None
    """What the vendor said when it refused the symbol."""
    no_room: bool = False
    """Whether it is refused because the vendor's connections are full."""
    paused: str = ""
    """Why no feed is held for it, when somebody paused it."""


def status_message(item: Item, symbol: SymbolStatus | None) -> stream_pb2.SubscriptionStatus:
    """Return what became of an item of a selection."""
    states = stream_pb2.SubscriptionStatusState
    feed_state = symbol.feed_state if symbol is not None else FeedState.UNSPECIFIED
    reason, words = item.reason, item.message
    if symbol is not None and symbol.refusal is not None:
        reason, words = "NOT_FOUND", f"The vendor refuses it: {symbol.refusal}"
        if symbol.no_room:
            reason, words = "QUOTA_EXCEEDED", f"{symbol.refusal}."
    if reason:
        state = states.SUBSCRIPTION_STATUS_STATE_REJECTED
    elif symbol is not None and symbol.paused:
        state, words = states.SUBSCRIPTION_STATUS_STATE_PAUSED, f"{symbol.paused}; resume it."
    elif feed_state in (FeedState.DOWN, FeedState.RECONNECTING):
        state = states.SUBSCRIPTION_STATUS_STATE_PENDING
    else:
        state = states.SUBSCRIPTION_STATUS_STATE_ACTIVE
    message = stream_pb2.SubscriptionStatus(
        selector_id=item.selector_id,
        series_id=item.topic.series_id if item.topic else 0,
        requested=item.requested,
        content=int(item.content),  # type: ignore[arg-type]  # numbered as in the contract
        state=state,
        message=words,
        feed_state=int(feed_state),  # type: ignore[arg-type]  # numbered as in the contract
    )
    if reason:
        message.reason = errors_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}")
    return message


def removed_message(item: Item) -> stream_pb2.SubscriptionStatus:
    """Return that an item is no longer part of a stream."""
    return stream_pb2.SubscriptionStatus(
        selector_id=item.selector_id,
        series_id=item.topic.series_id if item.topic else 0,
        requested=item.requested,
        content=int(item.content),  # type: ignore[arg-type]  # numbered as in the contract
        state=stream_pb2.SubscriptionStatusState.SUBSCRIPTION_STATUS_STATE_REMOVED,
    )


def infos(items: Iterable[Item]) -> list[market_data_pb2.SeriesInfo]:
    """Return the series that the items bring, each once."""
    found = {}
    for item in items:
        if item.live is None or item.topic is None:
            continue
        for series in (item.live.ticks, *item.live.bars.values()):
            if series.series_id == item.topic.series_id or series is item.live.ticks:
                found[series.series_id] = series_info(series)
    return list(found.values())


def dropped(counts: Mapping[Topic, tuple[int, int]]) -> list[stream_pb2.DroppedCount]:
    """Return what a conflating reader did not get."""
    return [
        stream_pb2.DroppedCount(
            series_id=topic.series_id,
            content=int(topic.content.told),  # type: ignore[arg-type]  # numbered as in the contract
            dropped=since,
            dropped_total=total,
        )
        for topic, (since, total) in sorted(counts.items())
    ]


_WELL = (FeedState.LIVE, FeedState.QUIET, FeedState.SESSION_CLOSED)
MOST_TROUBLED = 100
"""Symbols that a heartbeat tells the trouble of, of each feed."""


def feed_health(
    facts: FeedFacts, symbols: Sequence[tuple[LiveSeries, SymbolStatus]], clock: Clock
) -> feed_pb2.FeedHealth:
    """Return how a feed is.

    Args:
        facts: What is known of it.
        symbols: The symbols that a reader has of it, and how each is.
        clock: The time.
    """
    now = clock.time_ns()
    troubled = [(live, status) for live, status in symbols if status.feed_state not in _WELL]
    return feed_pb2.FeedHealth(
        feed_id=facts.feed_id,
        provider=facts.provider,
        state=int(facts.state(now)),  # type: ignore[arg-type]  # numbered as in the contract
        last_message_age_ns=now - facts.last_message_ns if facts.last_message_ns else -1,
        symbol_count=len(symbols),
        troubled=[
            feed_pb2.SymbolHealth(
                series_id=live.ticks.series_id,
                state=int(status.feed_state),  # type: ignore[arg-type]  # numbered as in the contract
                detail=status.refusal or facts.down or facts.detail,
            )
            for live, status in troubled[:MOST_TROUBLED]
        ],
        reconnects=max(0, facts.connects - 1),
    )


def price_message(quote: Quote, live: LiveSeries, state: FeedState, now_ns: int) -> price_pb2.Price:
    """Return the latest price of a symbol."""
    price = price_pb2.Price(
        series=series_info(live.ticks),
        last=quote.last,
        last_size=quote.last_size,
        last_side=int(quote.last_side),  # type: ignore[arg-type]  # numbered as in the contract
        bid=quote.bid,
        bid_size=quote.bid_size,
        ask=quote.ask,
        ask_size=quote.ask_size,
        session_open=quote.session_open,
        session_vwap=quote.session_vwap,
        change=quote.change,
        change_ratio=quote.change_ratio,
        feed_state=int(state),  # type: ignore[arg-type]  # numbered as in the contract
        previous_close=quote.previous_close,
        basis=price_pb2.PRICE_BASIS_TRADE,
    )
    if quote.last is not None and quote.previous_close:
        price.change_ratio_previous_close = quote.last / quote.previous_close - 1.0
    time_ns = quote.last_time_ns
    if quote.last is None:
        time_ns = quote.quote_time_ns
        price.basis = price_pb2.PRICE_BASIS_UNSPECIFIED
        if quote.bid is not None and quote.ask is not None:
            price.basis, price.last = price_pb2.PRICE_BASIS_QUOTE, (quote.bid + quote.ask) / 2
    if quote.session_open is not None:
        price.session_high, price.session_low = quote.session_high, quote.session_low
        price.session_volume, price.session_trades = quote.session_volume, quote.session_trades
        price.session_open_time.CopyFrom(timestamp_ns(quote.session_open_ns))
    if time_ns:
        price.last_time.CopyFrom(timestamp_ns(time_ns))
        price.age.FromNanoseconds(max(0, now_ns - time_ns))
    return price


def bar_price(series: Series, close: float, close_time_ns: int, origin: int, now_ns: int) -> price_pb2.Price:
    """Return the price of a symbol without a live one: the close of its newest bar."""
    live = origin in (BarOrigin.LIVE_PROVIDER, BarOrigin.LIVE_TICKS)
    price = price_pb2.Price(
        series=series_info(series),
        last=close,
        last_time=timestamp_ns(close_time_ns),
        basis=price_pb2.PRICE_BASIS_LIVE_BAR if live else price_pb2.PRICE_BASIS_HISTORICAL_BAR,
    )
    price.age.FromNanoseconds(max(0, now_ns - close_time_ns))
    return price


def contents(values: Iterable[int], intervals: bool) -> tuple[Content, ...]:
    """Return the contents that a selector names; when it names none, trades, and closed bars where intervals are."""
    named = tuple(Content(value) for value in values)
    if named:
        return named
    return (Content.TRADES, Content.CLOSED_BARS) if intervals else (Content.TRADES,)
