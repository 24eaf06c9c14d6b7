"""One `StreamLive` call to one process, read ahead, so that a reader can turn to another call without a loss."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import grpc
import numpy as np
import numpy.typing as npt

from quasar import errors
from quasar.convert import plugin_batches
from quasar.convert.columns import decode_bars
from quasar.convert.plugin_batches import LIVE_BARS, LIVE_TICKS
from quasar.convert.plugin_rows import MALFORMED, rejected_from_proto
from quasar.convert.tick_shapes import TickShapes
from quasar.model.ticks import TickKind
from quasar.plugins.batches import LiveBars, LiveBatch, LiveTicks
from quasar.plugins.process import PluginProcess
from quasar.plugins.row_pipe import RowPipe
from quasar.sdk.notices import ConnectionNotice, ConnectionState, GapCause, GapNotice, Notice, SymbolNotice, SymbolState
from quasar_proto.plugin.v1 import provider_pb2

PATH: Final = "/quasar.plugin.v1.ProviderPlugin/"
_AHEAD: Final = 64
# What a newer contract adds is read as not known.
_SYMBOL_STATES: Final = frozenset(map(int, SymbolState))
_CONNECTION_STATES: Final = frozenset(map(int, ConnectionState))
_TICK_KINDS: Final = frozenset(map(int, TickKind))
_CAUSES: Final = frozenset(map(int, GapCause))
Names = Mapping[int, tuple[str, str]]
"""Series id → symbol and interval; the interval of ticks is empty."""


class LiveCall:
    """One call."""

    def __init__(self, process: PluginProcess, request: provider_pb2.StreamLiveRequest, names: Names) -> None:
        """Begin the call, and offer it a pipe for its rows; `pump` reads both."""
        self.process = process
        self.stream_id = request.stream_id
        self.on_batch: Callable[[LiveBatch], None] | None = None
        """Hears of each batch as it arrives, before the reader does."""
        self._names = names
        self._shapes = TickShapes()
        self._queue: asyncio.Queue[LiveBatch | errors.QuasarError | None] = asyncio.Queue(_AHEAD)
        self._pipe = process.pipes.open(request.stream_id)
        request.pipe_path = self._pipe.path if self._pipe is not None else ""
        serialise: Any = provider_pb2.StreamLiveRequest.SerializeToString
        self._call: Any = process.channel.unary_stream(f"{PATH}StreamLive", serialise, None)(request)

    async def pump(self) -> None:
        """Read until the call ends. A read cannot be cancelled without ending the call, hence a task of its own."""
        try:
            end = await self._read_both(self._pipe) if self._pipe is not None else await self._read_call()
        finally:
            self._call.cancel()
            if self._pipe is not None:
                self._pipe.close()
        await self._queue.put(end)

    async def _read_both(self, pipe: RowPipe) -> errors.QuasarError | None:
        """Read the call, and beside it the pipe; return why they ended, if not at their end."""
        beside = asyncio.create_task(self._read_pipe(pipe))
        try:
            end = await self._read_call()
            pipe.end()
            wrong = await beside
        finally:
            beside.cancel()
        if wrong is None and end is None and pipe.cut_short:
            wrong = errors.PluginFailed(f"{self.process.code.name} ended its stream within a message")
        return wrong or end

    async def _read_call(self) -> errors.QuasarError | None:
        try:
            while (raw := await self.process.answer(self._call.read())) is not grpc.aio.EOF:
                await self._take(raw)
        except errors.QuasarError as error:
            return error
        return None

    async def _read_pipe(self, pipe: RowPipe) -> errors.QuasarError | None:
        try:
            while (raw := await self._next_of(pipe)) is not None:
                await self._take(raw)
        except errors.QuasarError as error:
            self._call.cancel()  # nothing that follows could be read
            return error
        return None

    async def _next_of(self, pipe: RowPipe) -> bytes | None:
        try:
            return await pipe.read()
        except MALFORMED as error:
            raise self._malformed(error) from None

    async def _take(self, raw: bytes) -> None:
        try:
            batch = decode(raw, self._names, self._shapes)
        except MALFORMED as error:
            raise self._malformed(error) from None
        if self.on_batch is not None:
            self.on_batch(batch)
        await self._queue.put(batch)

    def _malformed(self, error: BaseException) -> errors.PluginFailed:
        return errors.PluginFailed(f"{self.process.code.name} sent a malformed batch: {error}")

    async def read(self) -> LiveBatch | None:
        """Return the next batch; None at the end.

        Raises:
            QuasarError: The stream failed.
        """
        item = await self._queue.get()
        if isinstance(item, errors.QuasarError):
            raise item
        return item

    def cancel(self) -> None:
        """End the call."""
        self._call.cancel()


def decode(raw: bytes, names: Names, shapes: TickShapes | None = None) -> LiveBatch:
    """Read one message; chunks with unknown ids, and ticks of unknown kinds, are left out.

    Args:
        raw: The message.
        names: What the series are.
        shapes: What is known of the chunks of this feed; None: nothing.
    """
    read = (shapes or TickShapes()).decode
    spans, rest = plugin_batches.spans(raw, (LIVE_TICKS, LIVE_BARS))
    view = memoryview(raw)
    ticks, bars = [], []
    for start, end in spans[LIVE_TICKS]:
        number, columns = read(raw, start, end)
        symbol, interval = names.get(number, ("", ""))
        if symbol and not interval and _known(columns.kind):
            ticks.append(LiveTicks(symbol, number, columns, view[start:end]))
    for start, end in spans[LIVE_BARS]:
        bar_chunk = decode_bars(view[start:end])
        symbol, interval = names.get(bar_chunk.series_id, ("", ""))
        if interval:
            bars.append(LiveBars(symbol, interval, bar_chunk.series_id, bar_chunk.columns, view[start:end]))
    return LiveBatch(ticks, bars, _notices(provider_pb2.StreamLiveResponse.FromString(rest), names) if rest else ())


def _known(kinds: npt.NDArray[np.uint8] | None) -> bool:
    """Tell whether ticks are of a kind that is known here; those of one chunk are all of one."""
    return kinds is None or not len(kinds) or int(kinds[0]) in _TICK_KINDS


def _notices(answer: provider_pb2.StreamLiveResponse, names: Names) -> list[Notice]:
    found: list[Notice] = [_connection(one) for one in answer.connections]
    found += [
        SymbolNotice(names.get(one.series_id, ("", ""))[0], SymbolState(one.state), one.message)
        for one in answer.symbols
        if one.state in _SYMBOL_STATES
    ]
    found += [_gap(one, names) for one in answer.gaps]
    found += [rejected_from_proto(row) for row in answer.rejected]
    return found


def _gap(one: provider_pb2.GapNotice, names: Names) -> GapNotice:
    return GapNotice(
        symbol=names.get(one.series_id, ("", ""))[0],
        start_ns=one.start_time_ns,
        end_ns=one.end_time_ns,
        cause=GapCause(one.cause) if one.cause in _CAUSES else GapCause.UNSPECIFIED,
        detail=one.detail,
        last_trade_id=None if one.last_trade_id < 0 else one.last_trade_id,
    )


def _connection(one: provider_pb2.ConnectionReport) -> ConnectionNotice:
    known = one.state in _CONNECTION_STATES
    return ConnectionNotice(
        state=ConnectionState(one.state) if known else ConnectionState.CONNECTING,
        connection=one.connection,
        host=one.host,
        last_receive_ns=one.last_receive_time_ns,
        ping_s=one.ping.ToNanoseconds() / 1e9 if one.HasField("ping") else None,
        error=one.error.message,
        next_attempt_ns=one.next_attempt_time_ns,
        bytes_received=one.bytes_received,
    )
