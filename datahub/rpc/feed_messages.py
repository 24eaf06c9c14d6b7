"""Live connections and their symbols as messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from datahub.live.hours import Hours
from datahub.live.provider_feed import ProviderFeed
from datahub.live.states import QUIET_NS, STALE_NS, FeedFacts, FeedState, SymbolFacts
from datahub.live.symbols import LiveSeries
from datahub.rpc.series_messages import series_key
from quasar.rpc.wellknown import timestamp_ns
from quasar_proto.datahub.v1 import feed_pb2 as pb

_BEST_FIRST = (
    FeedState.LIVE,
    FeedState.QUIET,
    FeedState.SESSION_CLOSED,
    FeedState.UNSPECIFIED,
    FeedState.RECONNECTING,
    FeedState.STALE,
    FeedState.DOWN,
)


def symbol_message(feed: ProviderFeed, series: LiveSeries, hours: Hours, now_ns: int) -> pb.SymbolFeed:
    """Return a symbol on a live connection."""
    facts, symbol = feed.facts, series.name.symbol
    known = facts.symbols.get(symbol, SymbolFacts())
    state = _symbol_state(facts, symbol, known, hours, now_ns)
    message = pb.SymbolFeed(
        key=series_key(series.ticks.name),
        series_id=series.ticks.series_id,
        feed_id=facts.feed_id,
        state=int(state),  # type: ignore[arg-type]  # numbered as in the contract
        detail=_symbol_detail(facts, symbol, state),
        rows=known.rows,
        resyncs=known.resyncs,
    )
    for field, at_ns in (
        (message.state_since, _since(facts, known, hours, state)),
        (message.last_event_time, known.last_event_ns),
        (message.last_receive_time, known.last_receive_ns),
        (message.next_session_change_time, hours.until_ns),
    ):
        if at_ns:
            field.FromNanoseconds(at_ns)
    return message


def feed_message(feed: ProviderFeed, symbols: Sequence[pb.SymbolFeed], now_ns: int) -> pb.Feed:
    """Return a live connection.

    Args:
        feed: The connection.
        symbols: All its symbols.
        now_ns: The time.
    """
    facts = feed.facts
    counts = Counter(FeedState(symbol.state) for symbol in symbols)
    state = _feed_state(facts, counts, now_ns)
    message = pb.Feed(
        feed_id=facts.feed_id,
        provider=facts.provider,
        state=int(state),  # type: ignore[arg-type]  # numbered as in the contract
        detail=facts.down or facts.detail,
        host=facts.host if facts.connected else "",
        reconnects=max(0, facts.connects - 1),
        reconnect_budget=facts.budget(now_ns),
        rows_per_second=facts.meter.rows_per_second(now_ns),
        symbol_count=len(symbols),
        symbol_states=[
            pb.FeedStateCount(state=int(each), count=count)  # type: ignore[arg-type]  # numbered as in the contract
            for each, count in sorted(counts.items())
        ],
        gaps=facts.gaps,
        checksum_failures=facts.checksum_failures,
    )
    _times(message, facts, symbols, state)
    lags = facts.meter.lags_s(now_ns)
    if lags is not None:
        message.lag_p50.FromNanoseconds(int(lags[0] * 1e9))
        message.lag_p99.FromNanoseconds(int(lags[1] * 1e9))
    return message


def _times(message: pb.Feed, facts: FeedFacts, symbols: Sequence[pb.SymbolFeed], state: FeedState) -> None:
    there = [each for each in symbols if int(each.state) == int(state) and each.HasField("state_since")]
    same = [each.state_since.ToNanoseconds() for each in there]
    since_ns = min(same, default=facts.since_ns) if facts.connected else facts.since_ns
    message.state_since.CopyFrom(timestamp_ns(since_ns))
    if facts.connected:
        message.connect_time.CopyFrom(timestamp_ns(facts.connect_ns))
    if facts.last_message_ns:
        message.last_message_time.CopyFrom(timestamp_ns(facts.last_message_ns))
    if facts.next_attempt_ns and not facts.connected:
        message.next_attempt_time.CopyFrom(timestamp_ns(facts.next_attempt_ns))


def _feed_state(facts: FeedFacts, counts: Counter[FeedState], now_ns: int) -> FeedState:
    """Return the best state among the symbols while connected, otherwise the connection's own."""
    if not facts.connected:
        own = facts.state(now_ns)
        return FeedState.UNSPECIFIED if own is FeedState.RECONNECTING and not facts.connects else own
    return next((state for state in _BEST_FIRST if counts[state]), facts.state(now_ns))


def _symbol_state(facts: FeedFacts, symbol: str, known: SymbolFacts, hours: Hours, now_ns: int) -> FeedState:
    state = facts.symbol_state(symbol, known.last_receive_ns, now_ns)
    if state is FeedState.RECONNECTING and not facts.connects:
        return FeedState.UNSPECIFIED
    if state in (FeedState.QUIET, FeedState.STALE) and not hours.open:
        return FeedState.SESSION_CLOSED
    if state is FeedState.QUIET and not known.rows:
        return FeedState.UNSPECIFIED
    return FeedState.RECONNECTING if known.resyncing and state is FeedState.LIVE else state


def _symbol_detail(facts: FeedFacts, symbol: str, state: FeedState) -> str:
    if symbol in facts.no_room:
        return facts.refused[symbol]
    if symbol in facts.refused:
        return f"The vendor refuses it: {facts.refused[symbol]}"
    if state in (FeedState.DOWN, FeedState.RECONNECTING, FeedState.STALE):
        return facts.down or facts.detail
    return ""


def _since(facts: FeedFacts, known: SymbolFacts, hours: Hours, state: FeedState) -> int:
    """Return since when a symbol is in its state."""
    if state is FeedState.QUIET:
        return max(facts.connect_ns, known.last_receive_ns + QUIET_NS)
    if state is FeedState.STALE:
        return facts.last_message_ns + STALE_NS
    if state is FeedState.SESSION_CLOSED:
        return hours.since_ns
    if state is FeedState.LIVE or known.resyncing or (facts.connected and known.since_ns):
        return known.since_ns
    return facts.since_ns
