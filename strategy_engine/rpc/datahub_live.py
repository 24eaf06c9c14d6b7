"""Live data, streamed from the DataHub as columns and handed on bar by bar and tick by tick."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Final

from quasar.client.channel import Channel
from quasar.convert.columns import decode_bars, decode_ticks
from quasar.convert.plugin_batches import taken_apart
from quasar.engine.live import LiveBar, LiveTick
from quasar.model.bars import BarState
from quasar.model.intervals import Interval
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb
from quasar_proto.datahub.v1 import stream_pb2
from strategy_engine.backtests.records import SeriesFacts
from strategy_engine.rpc.universe_messages import facts_of
from strategy_engine.trading.feed import Envelope, Instant, Key

_METHOD: Final = "quasar.datahub.v1.MarketDataService/StreamMarketData"
_TICKS: Final = 14
_BARS: Final = 15


class DatahubLive:
    """Implements `strategy_engine.trading.feed.LiveSource` over `MarketDataService.StreamMarketData`."""

    def __init__(self, channel: Channel) -> None:
        """Stream through `channel`."""
        self._channel = channel

    async def stream(self, keys: Sequence[Key], cursor: str) -> AsyncIterator[Envelope]:
        """Yield what comes in; see `LiveSource.stream`."""
        facts: dict[int, SeriesFacts] = {}
        request = _request(keys, cursor)
        answers = self._channel.stream(_METHOD, request, pb.StreamMarketDataRequest.SerializeToString, bytes)
        async with aclosing(answers) as messages:
            async for data in messages:
                chunks, rest = taken_apart(data, (_TICKS, _BARS))
                head = pb.StreamMarketDataResponse.FromString(rest)
                fresh = {info.series_id: facts_of(info) for info in head.series}
                facts |= fresh
                yield Envelope(head.cursor, list(fresh.values()), _instants(chunks, facts))


def _request(keys: Sequence[Key], cursor: str) -> pb.StreamMarketDataRequest:
    # A series with an interval gives its bars, one without an interval its ticks.
    symbols = sorted({(provider, symbol, "") for provider, symbol, _ in keys})
    selectors = [
        stream_pb2.MarketDataSelector(
            selector_id=name,
            series=stream_pb2.SeriesKeys(
                keys=[values_pb2.SeriesKey(provider=key[0], symbol=key[1], interval=key[2]) for key in wanted]
            ),
            contents=[content],
        )
        for name, wanted, content in (
            ("bars", keys, stream_pb2.STREAM_CONTENT_CLOSED_BARS),
            ("ticks", symbols, stream_pb2.STREAM_CONTENT_TRADES),
        )
    ]
    request = pb.StreamMarketDataRequest(selectors=selectors, delivery_policy=stream_pb2.DELIVERY_POLICY_LOSSLESS)
    if cursor:
        request.cursor = cursor
    return request


def _instants(chunks: dict[int, list[memoryview]], facts: dict[int, SeriesFacts]) -> list[Instant]:
    """Return ticks and closed bars by the instant at which they are known, in its order."""
    ticks: dict[int, list[LiveTick]] = {}
    bars: dict[int, list[LiveBar]] = {}
    for view in chunks[_TICKS]:
        tick_chunk = decode_ticks(view)
        known = facts.get(tick_chunk.series_id)
        for tick in tick_chunk.columns.ticks() if known else ():
            assert known is not None
            own = LiveTick(
                symbol=known.name,
                time_ns=tick.event_time_ns,
                price=tick.price,
                size=tick.size,
                bid=tick.bid_price,
                ask=tick.ask_price,
            )
            ticks.setdefault(tick.event_time_ns, []).append(own)
    for view in chunks[_BARS]:
        bar_chunk = decode_bars(view)
        known = facts.get(bar_chunk.series_id)
        if known is None:
            continue
        columns = bar_chunk.columns
        if columns.close_time_ns is None:
            columns = columns.with_close_times(Interval.parse(known.interval))
        for bar in columns.bars():
            if bar.state is BarState.CLOSED:
                own_bar = LiveBar(known.name, known.interval, bar)
                bars.setdefault(bar.close_time_ns or bar.open_time_ns, []).append(own_bar)
    return [Instant(bars.get(time, ()), ticks.get(time, ())) for time in sorted({*ticks, *bars})]
