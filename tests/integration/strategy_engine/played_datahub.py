"""A DataHub of one series: a real gRPC server on a socket that answers `ReadBars` and streams what a test feeds it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from quasar.convert.columns import BarChunk, TickChunk, encode_bars, encode_ticks
from quasar.convert.plugin_batches import joined
from quasar.model.bars import BarColumns
from quasar.model.ticks import TickColumns
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import market_data_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb

BARS_FIELD = 2
STREAM_TICKS_FIELD = 14
STREAM_BARS_FIELD = 15
TICK_IDS = 1000
"""Numbers of series of ticks begin above this."""
Context = grpc.aio.ServicerContext[Any, Any]


@dataclass
class Played:
    """What the played DataHub holds and what was asked of it."""

    bars: Mapping[tuple[str, str, str], BarColumns]
    """By provider, symbol and interval."""
    currency: str = "USD"
    calendar: str = "XNAS"
    asset_class: int = values_pb2.ASSET_CLASS_EQUITY
    asked: list[pb.ReadBarsRequest] = field(default_factory=list)
    opened: list[pb.StreamMarketDataRequest] = field(default_factory=list)
    """Requests of streams, in the order in which they came."""
    log: list[tuple[tuple[str, str, str], BarColumns | TickColumns]] = field(default_factory=list)
    """The live log: a cursor is a place in it."""
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    cut: int = 0
    """Raised to end every stream that is open."""
    expired: bool = False
    """The next stream that asks for a cursor is told that it is gone."""
    after_read: Callable[[pb.ReadBarsRequest], Awaitable[None]] | None = None
    """Called when stored bars were read, before the answer ends."""

    async def feed(self, key: tuple[str, str, str], columns: BarColumns | TickColumns) -> None:
        """Add bars, or ticks of the symbol, to the live log."""
        async with self.changed:
            self.log.append((key, columns))
            self.changed.notify_all()

    async def cut_streams(self) -> None:
        """End every stream, as a connection that breaks does."""
        async with self.changed:
            self.cut += 1
            self.changed.notify_all()

    async def until_opened(self, count: int) -> None:
        """Wait until so many streams were asked for."""
        async with self.changed:
            await self.changed.wait_for(lambda: len(self.opened) >= count)

    def series_id(self, key: tuple[str, str, str]) -> int:
        """Return the number of a series."""
        return list(self.bars).index(key) + 1

    def info(self, key: tuple[str, str, str]) -> market_data_pb2.SeriesInfo:
        """Return what is known of a series."""
        provider, symbol, interval = key
        return market_data_pb2.SeriesInfo(
            series_id=self.series_id(key),
            key=values_pb2.SeriesKey(provider=provider, symbol=symbol, interval=interval),
            quote_currency=self.currency,
            calendar=self.calendar,
            asset_class=self.asset_class,  # type: ignore[arg-type]  # enum values travel as plain integers
            price_decimals=2,
            size_decimals=0,
        )

    def tick_info(self, key: tuple[str, str, str]) -> market_data_pb2.SeriesInfo:
        """Return what is known of the ticks of a series' symbol."""
        found = self.info(key)
        found.series_id += TICK_IDS
        found.key.interval = ""
        return found

    def _key(self, reference: market_data_pb2.SeriesReference) -> tuple[str, str, str] | None:
        if reference.WhichOneof("reference") == "key":
            key = (reference.key.provider, reference.key.symbol, reference.key.interval)
            return key if key in self.bars else None
        wanted = reference.common
        return next((k for k in self.bars if (k[1], k[2]) == (wanted.common_symbol, wanted.interval)), None)

    async def read(self, request: pb.ReadBarsRequest, context: Context) -> AsyncIterator[bytes]:
        self.asked.append(request)
        for index, reference in enumerate(request.series):
            key = self._key(reference)
            end = pb.ReadBarsResponse()
            if key is None:
                end.ended.add(index=index).error.code = grpc.StatusCode.NOT_FOUND.value[0]
                end.ended[0].error.message = "no such series"
                yield end.SerializeToString()
                continue
            bars = _within(self.bars[key], request)
            head = pb.ReadBarsResponse(series=[self.info(key)])
            for start in range(0, len(bars), 1000):
                chunk = encode_bars(BarChunk(self.series_id(key), bars[start : start + 1000]))
                yield joined([(BARS_FIELD, chunk)], head)
                head = pb.ReadBarsResponse()
            head.ended.add(index=index, series_id=self.series_id(key), rows=len(bars))
            yield head.SerializeToString()
        if self.after_read is not None:
            await self.after_read(request)

    async def stream(self, request: pb.StreamMarketDataRequest, context: Context) -> AsyncIterator[bytes]:
        cut = self.cut
        if self.expired and request.WhichOneof("start") == "cursor":
            self.expired = False
            await context.abort(grpc.StatusCode.OUT_OF_RANGE, "the cursor is older than the log")
        async with self.changed:
            self.opened.append(request)
            self.changed.notify_all()
        place = int(request.cursor) if request.WhichOneof("start") == "cursor" else len(self.log)
        asked = {(key.provider, key.symbol, key.interval) for each in request.selectors for key in each.series.keys}
        wanted = [key for key in self.bars if key in asked]
        ticking = [key for key in self.bars if (key[0], key[1], "") in asked]
        infos = [self.info(key) for key in wanted] + [self.tick_info(key) for key in ticking]
        yield pb.StreamMarketDataResponse(epoch=1, sequence=1, cursor=str(place), series=infos).SerializeToString()
        sequence = 1
        while True:
            async with self.changed:
                while len(self.log) <= place and self.cut == cut:
                    await self.changed.wait()
            if self.cut != cut:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
            key, columns = self.log[place]
            place, sequence = place + 1, sequence + 1
            head = pb.StreamMarketDataResponse(epoch=1, sequence=sequence, cursor=str(place))
            chunks = []
            if isinstance(columns, TickColumns) and key in ticking:
                chunk = encode_ticks(TickChunk(self.series_id(key) + TICK_IDS, columns))
                chunks.append((STREAM_TICKS_FIELD, chunk))
            elif isinstance(columns, BarColumns) and key in wanted:
                chunks.append((STREAM_BARS_FIELD, encode_bars(BarChunk(self.series_id(key), columns))))
            yield joined(chunks, head)


def _within(bars: BarColumns, request: pb.ReadBarsRequest) -> BarColumns:
    times = bars.open_time_ns
    chosen = np.ones(len(bars), dtype=np.bool_)
    if request.range.HasField("start"):
        chosen &= times >= request.range.start.ToNanoseconds()
    if request.range.HasField("end"):
        chosen &= times < request.range.end.ToNanoseconds()
    found = bars[chosen]
    return found[max(0, len(found) - request.last_count) :] if request.last_count else found


@asynccontextmanager
async def serving(played: Played) -> AsyncIterator[str]:
    """Serve a played DataHub and yield its address."""
    server = grpc.aio.server()
    service = pb.DESCRIPTOR.services_by_name["MarketDataService"].full_name
    methods: dict[str, Any] = {
        "ReadBars": grpc.unary_stream_rpc_method_handler(played.read, pb.ReadBarsRequest.FromString, bytes),
        "StreamMarketData": grpc.unary_stream_rpc_method_handler(
            played.stream, pb.StreamMarketDataRequest.FromString, bytes
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
