"""Serves a provider: history, live data, symbols, constituents."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from quasar import errors
from quasar.convert.plugin_rows import constituent_to_proto, instrument_to_proto, rejected_to_proto
from quasar.model.instruments import Instrument
from quasar.model.intervals import Interval
from quasar.model.ticks import TickKind
from quasar.plugins.host.fetch import BARS, TICKS, Encoding, Fetch
from quasar.plugins.host.live import LiveStream
from quasar.plugins.host.live_messages import LiveMessages
from quasar.plugins.host.row_pipe import RowWriter
from quasar.plugins.host.runtime import Runtime
from quasar.plugins.serving import Rpc
from quasar.sdk.feed import Feed
from quasar.sdk.notices import RejectedRow
from quasar.sdk.permits import WORK
from quasar.sdk.requests import BarRequest, LiveSymbol, TickRequest
from quasar_proto.datahub.v1 import stream_pb2
from quasar_proto.plugin.v1 import provider_pb2

_BATCH_ROWS: Final = 10_000
_LIVE_ROWS: Final = 4_096
_FLUSH_S: Final = 0.005
_BATCH_SYMBOLS: Final = 1_000
_RECONNECTS: Final = 30
_MOST_TICKS: Final = 50_000_000
_LEAST_CAP: Final = 100_000
_ROW_BYTES: Final = 160


class ProviderService:
    """Serves `quasar.plugin.v1.ProviderPlugin`."""

    def __init__(self, runtime: Runtime) -> None:
        """Serve one provider."""
        self._runtime = runtime
        self._streams: dict[str, _Stream] = {}

    async def FetchBars(self, request: provider_pb2.FetchBarsRequest, rpc: Rpc) -> None:
        """Fetch bars of many symbols."""
        provider = self._runtime.need_instance()
        jobs = [
            _Job(wanted.series_id, _calling(provider.bars, _bar_request(wanted)), _most_bars(wanted))
            for wanted in request.ranges
        ]
        await self._fetch(request.work_id, jobs, BARS, provider_pb2.FetchBarsResponse, request.batch_rows, rpc)

    async def FetchTicks(self, request: provider_pb2.FetchTicksRequest, rpc: Rpc) -> None:
        """Fetch ticks of many symbols."""
        provider = self._runtime.need_instance()
        jobs = [
            _Job(wanted.series_id, _calling(provider.ticks, _tick_request(wanted)), _MOST_TICKS)
            for wanted in request.ranges
        ]
        await self._fetch(request.work_id, jobs, TICKS, provider_pb2.FetchTicksResponse, request.batch_rows, rpc)

    async def _fetch(
        self, work_id: str, jobs: Sequence[_Job], encoding: Encoding, answer: Any, batch_rows: int, rpc: Rpc
    ) -> None:
        WORK.set(work_id)
        writing = asyncio.Lock()
        room = asyncio.Semaphore(max(1, int(getattr(self._runtime.found, "concurrency", 1))))

        async def write(message: bytes) -> None:
            async with writing:
                await rpc.write(message)

        async def work(job: _Job) -> None:
            async with room:
                fetch = Fetch(job.series_id, encoding, answer, write, batch_rows or _BATCH_ROWS, job.most_rows)
                await fetch.run(job.source, self._runtime.context.redact)

        with self._runtime.working():
            async with asyncio.TaskGroup() as group:
                for job in jobs:
                    group.create_task(work(job))

    async def StreamLive(self, request: provider_pb2.StreamLiveRequest, rpc: Rpc) -> None:
        """Stream live data until the service ends the call."""
        provider = self._runtime.need_instance()
        if request.stream_id in self._streams:
            raise errors.AlreadyExists(f"stream_id must be new, was {request.stream_id}")
        stream = _Stream(Feed(reconnect_budget=request.reconnect_budget or _RECONNECTS))
        stream.add(request.subscriptions)
        stream.feed.forget_changes()
        flush_s = request.flush_interval.ToNanoseconds() / 1e9 if request.HasField("flush_interval") else _FLUSH_S
        clock = self._runtime.context.clock
        rows = request.batch_rows or _LIVE_ROWS
        pipe = RowWriter.open(request.pipe_path)
        messages = LiveMessages(stream.tick_ids, stream.bar_ids, rpc.write if pipe is None else pipe.write)
        sink = LiveStream(stream.tick_ids, stream.bar_ids, messages.send, clock.time_ns, rows)
        self._streams[request.stream_id] = stream
        self._runtime.buffers[request.stream_id] = lambda: sink.rows * _ROW_BYTES
        WORK.set(request.stream_id)
        try:
            with self._runtime.working():
                async with asyncio.TaskGroup() as group:
                    flushing = group.create_task(sink.run(max(0.001, flush_s)))
                    pumping = group.create_task(provider.pump(stream.feed, sink))
                    stopping = group.create_task(self._runtime.stopping.wait())
                    await asyncio.wait([pumping, stopping, flushing], return_when=asyncio.FIRST_COMPLETED)
                    for task in (pumping, stopping, flushing):
                        task.cancel()
            await sink.flush()
            if pipe is not None:
                await pipe.finish()
            if not self._runtime.stopping.is_set():
                raise errors.PluginFailed("live must go on until it is cancelled, was at its end")
        finally:
            del self._streams[request.stream_id], self._runtime.buffers[request.stream_id]
            if pipe is not None:
                pipe.close()

    async def UpdateLiveSubscriptions(
        self, request: provider_pb2.UpdateLiveSubscriptionsRequest, rpc: Rpc
    ) -> provider_pb2.UpdateLiveSubscriptionsResponse:
        """Change a running stream."""
        stream = self._stream(request.stream_id)
        stream.remove(request.remove_series_ids)
        stream.add(request.add)
        return provider_pb2.UpdateLiveSubscriptionsResponse(symbol_count=len(stream.feed.symbols))

    async def ResyncLive(self, request: provider_pb2.ResyncLiveRequest, rpc: Rpc) -> provider_pb2.ResyncLiveResponse:
        """Ask for a new connection, or for new snapshots."""
        stream = self._stream(request.stream_id)
        symbols = [symbol for number in request.series_ids if (symbol := stream.symbol_of(number))]
        if symbols or not request.series_ids:  # symbols that are gone are no wish for a new connection
            stream.feed.resync(symbols)
        return provider_pb2.ResyncLiveResponse()

    def _stream(self, stream_id: str) -> _Stream:
        try:
            return self._streams[stream_id]
        except KeyError:
            raise errors.NotFound(f"stream {stream_id} does not run") from None

    async def ListSymbols(self, request: provider_pb2.ListSymbolsRequest, rpc: Rpc) -> None:
        """Stream the symbols that the vendor knows."""
        provider = self._runtime.need_instance()
        WORK.set(request.work_id)
        most = request.batch_size or _BATCH_SYMBOLS
        page = provider_pb2.ListSymbolsResponse()
        with self._runtime.working():
            async with aclosing(provider.symbols(request.exchange)) as items:
                async for item in items:
                    for one in item if isinstance(item, list | tuple) else (item,):
                        _add_symbol(page, one)
                    if len(page.symbols) + len(page.rejected) >= most:
                        await rpc.write(page)
                        page = provider_pb2.ListSymbolsResponse()
            if page.symbols or page.rejected:
                await rpc.write(page)

    async def ListConstituents(
        self, request: provider_pb2.ListConstituentsRequest, rpc: Rpc
    ) -> provider_pb2.ListConstituentsResponse:
        """Return the members of an index."""
        provider = self._runtime.need_instance()
        WORK.set(request.work_id)
        as_of = dt.date.fromisoformat(request.as_of_date) if request.as_of_date else None
        with self._runtime.working():
            members = await provider.constituents(request.index, as_of)
        answer = provider_pb2.ListConstituentsResponse()
        for member in members:
            if isinstance(member, RejectedRow):
                answer.rejected.append(rejected_to_proto(member, 0))
            else:
                answer.constituents.append(constituent_to_proto(member))
        return answer


@dataclass(frozen=True, slots=True)
class _Job:
    series_id: int
    source: Callable[[], AsyncIterator[Any]]
    most_rows: int


@dataclass(slots=True)
class _Stream:
    feed: Feed
    tick_ids: dict[str, int] = field(default_factory=dict)
    bar_ids: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, subscriptions: Iterable[provider_pb2.LiveSubscription]) -> None:
        symbols = []
        for wanted in subscriptions:
            self.tick_ids[wanted.symbol] = wanted.series_id
            self.bar_ids.update(((wanted.symbol, bars.interval), bars.series_id) for bars in wanted.bars)
            contents = set(wanted.contents)
            symbols.append(
                LiveSymbol(
                    wanted.symbol,
                    trades=stream_pb2.STREAM_CONTENT_TRADES in contents,
                    quotes=stream_pb2.STREAM_CONTENT_QUOTES in contents,
                    book_top=stream_pb2.STREAM_CONTENT_BOOK_TOP in contents,
                    intervals=tuple(bars.interval for bars in wanted.bars),
                    provider_id=wanted.provider_id,
                )
            )
        self.feed.update(add=symbols)

    def remove(self, numbers: Iterable[int]) -> None:
        gone = [symbol for number in numbers if (symbol := self.symbol_of(number))]
        for symbol in gone:
            self.tick_ids.pop(symbol, None)
            for key in [key for key in self.bar_ids if key[0] == symbol]:
                del self.bar_ids[key]
        self.feed.update(remove=gone)

    def symbol_of(self, number: int) -> str:
        return next((symbol for symbol, own in self.tick_ids.items() if own == number), "")


def _calling(method: Callable[[Any], AsyncIterator[Any]], request: Any) -> Callable[[], AsyncIterator[Any]]:
    return lambda: method(request)


def _bar_request(wanted: provider_pb2.BarRange) -> BarRequest:
    return BarRequest(
        wanted.symbol,
        wanted.interval,
        wanted.start_time_ns,
        wanted.end_time_ns,
        wanted.provider_id,
        wanted.exchange,
    )


def _tick_request(wanted: provider_pb2.TickRange) -> TickRequest:
    return TickRequest(
        wanted.symbol,
        wanted.start_time_ns,
        wanted.end_time_ns,
        tuple(TickKind(kind) for kind in wanted.kinds) or (TickKind.TRADE,),
        wanted.provider_id,
        None if wanted.after_trade_id < 0 else wanted.after_trade_id,
    )


def _most_bars(wanted: provider_pb2.BarRange) -> int:
    """Return how many rows a source may send for a range: far more than it can hold, far less than would hurt."""
    with contextlib.suppress(errors.InvalidArgument):
        length = Interval.parse(wanted.interval).length_ns
        if length:
            return max(_LEAST_CAP, 4 * (wanted.end_time_ns - wanted.start_time_ns) // length)
    return _LEAST_CAP * 100


def _add_symbol(page: provider_pb2.ListSymbolsResponse, item: object) -> None:
    if isinstance(item, Instrument):
        page.symbols.append(instrument_to_proto(item))
    elif isinstance(item, RejectedRow):
        page.rejected.append(rejected_to_proto(item, 0))
    else:
        raise TypeError(f"symbols must yield Instrument or RejectedRow, was {type(item).__name__}")
