"""Stored bars and ticks and live data as numpy columns."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Final, TypeVar

from google.protobuf.message import Message

from quasar.client.channel import Channel
from quasar.client.live_data import CONTENT_PREFIX, LiveData, LiveReader, key_message
from quasar.clock import Clock, SystemClock
from quasar.convert.columns import decode_bars, decode_ticks
from quasar.convert.plugin_batches import taken_apart
from quasar.errors import InvalidArgument, NotFound, SlowReader, Unavailable
from quasar.model.bars import BarColumns
from quasar.model.instants import to_ns
from quasar.model.series import SeriesKey
from quasar.model.ticks import TickColumns
from quasar.rpc.errors import code_of, from_status
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import market_data_pb2, stream_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb

__all__ = ["CONTENTS", "LiveData", "MarketData"]

_SERVICE: Final = "quasar.datahub.v1.MarketDataService"
_A = TypeVar("_A", pb.ReadBarsResponse, pb.ReadTicksResponse)
_C = TypeVar("_C", BarColumns, TickColumns)
_CHUNKS: Final = 2
"""The field of the chunks, in answers of bars and of ticks."""
_BATCH_ROWS: Final = 32_768
_INLINE_ROWS: Final = 200_000
"""So many are joined within a few milliseconds; more are joined in a thread, and the caller's loop goes on."""
CONTENTS: Final = tuple(
    name.removeprefix(CONTENT_PREFIX).lower() for name, number in stream_pb2.StreamContent.items() if number
)
"""What a stream can bring of a symbol: `trades`, `quotes`, `book_top`, `closed_bars`, `forming_bars` …"""


class MarketData:
    """Reads the DataHub."""

    def __init__(self, channel: Channel, live: Channel, *, clock: Clock | None = None) -> None:
        """Read history through `channel`, live data through `live` (whose settings have `live` set).

        Args:
            channel: To the DataHub.
            live: To the DataHub as well.
            clock: Measures the pauses before a broken stream is opened again.
        """
        self._channel = channel
        self._live = live
        self._clock = clock or SystemClock()

    async def bars(
        self, series: SeriesKey | str, start: dt.datetime | None = None, end: dt.datetime | None = None
    ) -> BarColumns:
        """Return the stored bars of a series, by open time, each open time once.

        Args:
            series: Provider, symbol and interval, also written `kraken:BTC/USD@1min`.
            start: First open time; None: from the first bar.
            end: Bars that open before it; None: to the last bar.

        Raises:
            InvalidArgument: A time is naive.
            NotFound: There is no such series.
            QuasarError: Whatever else the DataHub answers.
        """
        return await _at_leisure(BarColumns.concatenate, [part async for part in self.bar_parts(series, start, end)])

    async def bar_parts(
        self, series: SeriesKey | str, start: dt.datetime | None = None, end: dt.datetime | None = None
    ) -> AsyncGenerator[BarColumns]:
        """Yield the same bars part by part in order, so that a series of any length takes little memory.

        The DataHub reads on only as the parts are taken; what is under way is a few megabytes.

        Args:
            series: Provider, symbol and interval, also written `kraken:BTC/USD@1min`.
            start: First open time; None: from the first bar.
            end: Bars that open before it; None: to the last bar.

        Raises:
            InvalidArgument: A time is naive.
            NotFound: There is no such series.
            QuasarError: Whatever else the DataHub answers.
        """
        key = SeriesKey.parse(series) if isinstance(series, str) else series
        reference = market_data_pb2.SeriesReference(key=key_message(key))
        request = pb.ReadBarsRequest(series=[reference], batch_rows=_BATCH_ROWS)
        _set_range(request.range, start, end)
        async with aclosing(self._chunks("ReadBars", request, pb.ReadBarsResponse)) as chunks:
            async for chunk in chunks:
                yield decode_bars(chunk).columns

    async def ticks(
        self, provider: str, symbol: str, start: dt.datetime | None = None, end: dt.datetime | None = None
    ) -> TickColumns:
        """Return the stored ticks of a symbol by event time, trades, quotes and book tops alike.

        Args:
            provider: The source.
            symbol: Its symbol.
            start: First event time; None: from the first tick that is kept.
            end: Ticks before it; None: to the last one.

        Raises:
            InvalidArgument: A time is naive.
            NotFound: The symbol has no ticks.
            QuasarError: Whatever else the DataHub answers.
        """
        key = values_pb2.SeriesKey(provider=provider, symbol=symbol)
        request = pb.ReadTicksRequest(series=[market_data_pb2.SeriesReference(key=key)], batch_rows=_BATCH_ROWS)
        _set_range(request.range, start, end)
        chunks = self._chunks("ReadTicks", request, pb.ReadTicksResponse)
        parts = [decode_ticks(chunk).columns async for chunk in chunks]
        return await _at_leisure(TickColumns.concatenate, parts)

    async def _chunks(self, method: str, request: Message, answer: type[_A]) -> AsyncGenerator[memoryview]:
        """Yield the encoded chunks of a read of one series; what ended it badly is raised.

        Only the rest of each message is parsed, so that the columns stay where they came.
        """
        stream = self._channel.stream(f"{_SERVICE}/{method}", request, type(request).SerializeToString, bytes)
        async with aclosing(stream) as messages:
            async for message in messages:
                chunks, rest = taken_apart(message, (_CHUNKS,))
                for end in answer.FromString(rest).ended:
                    if end.HasField("error"):
                        raise from_status(end.error, code_of(NotFound()))
                for chunk in chunks[_CHUNKS]:
                    yield chunk

    async def stream(
        self,
        provider: str,
        symbols: Sequence[str],
        *,
        contents: Sequence[str] = (),
        intervals: Sequence[str] = (),
        cursor: str = "",
        timeout_s: float | None = None,
    ) -> AsyncGenerator[LiveData]:
        """Yield live data of symbols until the stream ends; `follow` opens it again by itself.

        Args:
            provider: The source.
            symbols: Its symbols.
            contents: What is wanted of them, by the names in `CONTENTS`; empty: trades, and bars as they close when
                there are intervals.
            intervals: Intervals of the bars that are wanted.
            cursor: Goes on right after the envelope that had it, with nothing lost and nothing twice.
            timeout_s: The stream ends with DeadlineExceeded after it; None: when the caller closes it.

        Raises:
            InvalidArgument: A content has no such name.
            CursorExpired: The cursor is older than what the DataHub still holds.
            Draining: The DataHub stops; its metadata have the `cursor` to go on from.
            QuasarError: Whatever else the DataHub answers.
        """
        request = _stream_request(provider, symbols, contents, intervals, cursor)
        reader = LiveReader()
        stream = self._live.stream(
            f"{_SERVICE}/StreamMarketData",
            request,
            pb.StreamMarketDataRequest.SerializeToString,
            pb.StreamMarketDataResponse.FromString,
            timeout_s=timeout_s,
        )
        async with aclosing(stream) as envelopes:
            async for envelope in envelopes:
                yield reader.read(envelope)

    async def follow(
        self,
        provider: str,
        symbols: Sequence[str],
        *,
        contents: Sequence[str] = (),
        intervals: Sequence[str] = (),
        cursor: str = "",
    ) -> AsyncGenerator[LiveData]:
        """Yield live data of symbols until the caller closes it.

        A stream that breaks (the network, a restart of the DataHub, a reader that was too slow for a while) is opened
        again right after the last envelope that was yielded, with pauses that grow up to seconds and are random.

        Args:
            provider: The source.
            symbols: Its symbols.
            contents: As in `stream`.
            intervals: Intervals of the bars that are wanted.
            cursor: Goes on right after the envelope that had it.

        Raises:
            CursorExpired: The stream was away for longer than what the DataHub holds; `ticks` and `bars` read what lies
                between, and a stream without a cursor goes on from now.
            QuasarError: Whatever else the DataHub answers that another attempt would not mend.
        """
        failures = 0
        while True:
            opened = self.stream(provider, symbols, contents=contents, intervals=intervals, cursor=cursor)
            try:
                async with aclosing(opened) as envelopes:
                    async for envelope in envelopes:
                        failures, cursor = 0, envelope.cursor
                        yield envelope
            except (Unavailable, SlowReader) as error:
                failures += 1
                await self._clock.sleep(self._live.settings.retry.pause_s(failures, error))


async def _at_leisure(join: Callable[[list[_C]], _C], parts: list[_C]) -> _C:
    if sum(map(len, parts)) <= _INLINE_ROWS:
        return join(parts)
    return await asyncio.to_thread(join, parts)


def _set_range(given: values_pb2.TimeRange, start: dt.datetime | None, end: dt.datetime | None) -> None:
    if start is not None:
        given.start.FromNanoseconds(to_ns(start, "start"))
    if end is not None:
        given.end.FromNanoseconds(to_ns(end, "end"))


def _stream_request(
    provider: str, symbols: Sequence[str], contents: Sequence[str], intervals: Sequence[str], cursor: str
) -> pb.StreamMarketDataRequest:
    unknown = [content for content in contents if content not in CONTENTS]
    if unknown:
        raise InvalidArgument(f"contents must be of {', '.join(CONTENTS)}, was {unknown[0]!r}")
    chosen = market_data_pb2.SymbolSelector(
        provider_symbols=market_data_pb2.ProviderSymbols(provider=provider, symbols=symbols)
    )
    wanted = [stream_pb2.StreamContent.Value(f"{CONTENT_PREFIX}{content.upper()}") for content in contents]
    selector = stream_pb2.MarketDataSelector(symbols=chosen, contents=wanted, intervals=intervals)
    request = pb.StreamMarketDataRequest(selectors=[selector])
    if cursor:
        request.cursor = cursor
    return request
