"""Stored bars and live data as numpy columns."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from quasar.client.channel import Channel
from quasar.convert.columns import decode_bars, decode_ticks
from quasar.errors import NotFound
from quasar.model.bars import BarColumns
from quasar.model.series import SeriesKey
from quasar.model.ticks import TickColumns
from quasar.rpc.errors import code_of, from_status
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import market_data_pb2, stream_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb

_SERVICE = "quasar.datahub.v1.MarketDataService"


@dataclass(frozen=True, slots=True)
class LiveData:
    """What one envelope of a live stream brought."""

    cursor: str
    """Opens a stream that goes on right after this envelope."""
    ticks: Mapping[str, TickColumns] = field(default_factory=dict)
    """Ticks by symbol, in order of arrival."""
    bars: Mapping[tuple[str, str], BarColumns] = field(default_factory=dict)
    """Bars by symbol and interval."""


class MarketData:
    """Reads the DataHub."""

    def __init__(self, channel: Channel, live: Channel) -> None:
        """Read history through `channel`, live data through `live` (whose settings have `live` set)."""
        self._channel = channel
        self._live = live

    async def bars(
        self, series: SeriesKey | str, start: dt.datetime | None = None, end: dt.datetime | None = None
    ) -> BarColumns:
        """Return the stored bars of a series, by open time, each open time once.

        Args:
            series: Provider, symbol and interval, also written `kraken:BTC/USD@1min`.
            start: First open time; None: from the first bar.
            end: Bars that open before it; None: to the last bar.

        Raises:
            NotFound: There is no such series.
            QuasarError: Whatever else the DataHub answers.
        """
        key = SeriesKey.parse(series) if isinstance(series, str) else series
        request = pb.ReadBarsRequest(series=[market_data_pb2.SeriesReference(key=key_message(key))])
        if start is not None:
            request.range.start.FromDatetime(start)
        if end is not None:
            request.range.end.FromDatetime(end)
        stream = self._channel.stream(
            f"{_SERVICE}/ReadBars", request, pb.ReadBarsRequest.SerializeToString, pb.ReadBarsResponse.FromString
        )
        parts = []
        async with aclosing(stream) as answers:
            async for answer in answers:
                for ended in answer.ended:
                    if ended.HasField("error"):
                        raise from_status(ended.error, code_of(NotFound()))
                parts += [decode_bars(chunk.SerializeToString()).columns for chunk in answer.bars]
        return BarColumns.concatenate(parts) if parts else BarColumns.empty()

    async def stream(
        self,
        provider: str,
        symbols: Sequence[str],
        *,
        intervals: Sequence[str] = (),
        cursor: str = "",
        timeout_s: float | None = None,
    ) -> AsyncGenerator[LiveData]:
        """Yield live trades of symbols, and their bars as they close.

        Args:
            provider: The source.
            symbols: Its symbols.
            intervals: Intervals of the bars that are wanted.
            cursor: Goes on right after the envelope that had it, with nothing lost and nothing twice.
            timeout_s: The stream ends with DeadlineExceeded after it; None: when the caller closes it.

        Raises:
            OutOfRange: The cursor is older than what the DataHub still holds.
            Draining: The DataHub stops; its metadata have the `cursor` to go on from.
            QuasarError: Whatever else the DataHub answers.
        """
        request = _stream_request(provider, symbols, intervals, cursor)
        known: dict[int, values_pb2.SeriesKey] = {}
        stream = self._live.stream(
            f"{_SERVICE}/StreamMarketData",
            request,
            pb.StreamMarketDataRequest.SerializeToString,
            pb.StreamMarketDataResponse.FromString,
            timeout_s=timeout_s,
        )
        async with aclosing(stream) as envelopes:
            async for envelope in envelopes:
                known.update({info.series_id: info.key for info in envelope.series})
                yield _live_data(envelope, known)


def key_message(series: SeriesKey) -> values_pb2.SeriesKey:
    """Return a key as it travels."""
    return values_pb2.SeriesKey(provider=series.provider, symbol=series.symbol, interval=series.interval.code)


def _stream_request(
    provider: str, symbols: Sequence[str], intervals: Sequence[str], cursor: str
) -> pb.StreamMarketDataRequest:
    chosen = market_data_pb2.SymbolSelector(
        provider_symbols=market_data_pb2.ProviderSymbols(provider=provider, symbols=symbols)
    )
    selector = stream_pb2.MarketDataSelector(symbols=chosen, intervals=intervals)
    request = pb.StreamMarketDataRequest(selectors=[selector])
    if cursor:
        request.cursor = cursor
    return request


def _live_data(envelope: pb.StreamMarketDataResponse, known: Mapping[int, values_pb2.SeriesKey]) -> LiveData:
    ticks: dict[str, list[TickColumns]] = {}
    for tick_chunk in envelope.ticks:
        ticks.setdefault(known[tick_chunk.series_id].symbol, []).append(
            decode_ticks(tick_chunk.SerializeToString()).columns
        )
    bars: dict[tuple[str, str], list[BarColumns]] = {}
    for bar_chunk in envelope.bars:
        key = known[bar_chunk.series_id]
        bars.setdefault((key.symbol, key.interval), []).append(decode_bars(bar_chunk.SerializeToString()).columns)
    return LiveData(
        envelope.cursor,
        {symbol: TickColumns.concatenate(parts) for symbol, parts in ticks.items()},
        {key: BarColumns.concatenate(parts) for key, parts in bars.items()},
    )
