"""Reads the answers of a fetch: batches as they come, and exactly one end for each request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc

from quasar import errors
from quasar.convert.plugin_batches import FETCH_BARS, bar_chunks, taken_apart, tick_chunks
from quasar.convert.plugin_rows import MALFORMED, rejected_from_proto
from quasar.plugins.batches import BarBatch, TickBatch
from quasar.plugins.process import PluginProcess
from quasar.rpc.errors import code_of, from_status
from quasar.sdk.failures import Throttled, Unauthorised, UnknownSymbol, Unsupported
from quasar.sdk.notices import EmptyRange
from quasar.sdk.permits import Tally
from quasar_proto.plugin.v1 import provider_pb2

_KINDS: Final[dict[int, type[errors.QuasarError]]] = {
    provider_pb2.FETCH_STATE_THROTTLED: Throttled,
    provider_pb2.FETCH_STATE_UNKNOWN_SYMBOL: UnknownSymbol,
    provider_pb2.FETCH_STATE_UNSUPPORTED: Unsupported,
    provider_pb2.FETCH_STATE_UNAUTHORISED: Unauthorised,
}


@dataclass(frozen=True, slots=True)
class Form:
    """How answers of one sort are read."""

    path: str
    answer: Any
    batch: type[BarBatch] | type[TickBatch]
    decode: Callable[[Sequence[memoryview]], Sequence[Any]]


BARS: Final = Form("/quasar.plugin.v1.ProviderPlugin/FetchBars", provider_pb2.FetchBarsResponse, BarBatch, bar_chunks)
TICKS: Final = Form(
    "/quasar.plugin.v1.ProviderPlugin/FetchTicks", provider_pb2.FetchTicksResponse, TickBatch, tick_chunks
)


async def answers(
    process: PluginProcess, form: Form, request: Any, indices: dict[int, int], stall_s: float
) -> AsyncGenerator[Any, None]:
    """Yield the batches of one call; requests that the process leaves without an end get one.

    Args:
        process: Whom to ask.
        form: Bars or ticks.
        request: The message of the contract.
        indices: For each series id of the message, the index of the request.
        stall_s: A call without any answer for so long, while it waits for no permit, is given up.
    """
    waiting = set(indices)
    error: errors.QuasarError = errors.PluginFailed(f"{process.code.name} ended the answer too early")
    call: Any = process.channel.unary_stream(form.path, type(request).SerializeToString, None)(request)
    try:
        async for raw in _unstalled(call, process, stall_s):
            for number, batch in _understood(process, form, raw, indices):
                if batch.done:
                    waiting.discard(number)
                yield batch
    except errors.QuasarError as failed:
        error = failed
    finally:
        call.cancel()
    for number in sorted(waiting):
        yield form.batch(indices[number], error=error, done=True)


async def _unstalled(call: Any, process: PluginProcess, stall_s: float) -> AsyncGenerator[bytes, None]:
    while True:
        try:
            async with asyncio.timeout(stall_s):
                raw = await process.answer(call.read())
        except TimeoutError:
            if process.desk.budget().waiting:
                continue  # it waits for a permit
            text = f"{process.code.name} sent nothing for {stall_s:g} s"
            raise errors.DeadlineExceeded(text) from None
        if raw is grpc.aio.EOF:
            return
        yield raw


def _understood(process: PluginProcess, form: Form, raw: bytes, indices: dict[int, int]) -> list[tuple[int, Any]]:
    try:
        return _read(form, raw, indices)
    except MALFORMED as error:
        raise errors.PluginFailed(f"{process.code.name} sent a malformed batch: {error}") from None


def _read(form: Form, raw: bytes, indices: dict[int, int]) -> list[tuple[int, Any]]:
    views, rest = taken_apart(raw, (FETCH_BARS,))
    chunks = [chunk for chunk in form.decode(views[FETCH_BARS]) if chunk.series_id in indices]
    found: list[tuple[int, Any]] = [
        (chunk.series_id, form.batch(indices[chunk.series_id], chunk.columns)) for chunk in chunks
    ]
    if rest:
        found += _read_rest(form, form.answer.FromString(rest), indices)
    return found


def _read_rest(form: Form, answer: Any, indices: dict[int, int]) -> list[tuple[int, Any]]:
    found: list[tuple[int, Any]] = []
    for row in answer.rejected:
        if row.series_id in indices:
            batch = form.batch(indices[row.series_id], rejected=(rejected_from_proto(row),))
            found.append((row.series_id, batch))
    for one in answer.empty_ranges:
        if one.series_id in indices:
            empty = EmptyRange(one.start_time_ns, one.end_time_ns, one.no_trade)
            found.append((one.series_id, form.batch(indices[one.series_id], empty=(empty,))))
    for status in answer.statuses:
        if status.series_id in indices and status.state > provider_pb2.FETCH_STATE_RUNNING:
            batch = form.batch(
                indices[status.series_id],
                error=_error(status),
                done=True,
                complete_until_ns=status.complete_until_ns,
                tally=Tally(
                    max(0, status.vendor_calls),
                    max(0.0, status.rate_limit_wait.ToNanoseconds() / 1e9),
                    max(0, status.bytes_received),
                ),
            )
            found.append((status.series_id, batch))
    return found


def _error(status: provider_pb2.FetchStatus) -> errors.QuasarError | None:
    if status.state == provider_pb2.FETCH_STATE_DONE:
        return None
    error = from_status(status.error, code_of(errors.PluginFailed()))  # what a status without a reason counts as
    kind = _KINDS.get(status.state)
    if kind is None:
        return error
    retry_after_s = status.retry_after.ToNanoseconds() / 1e9 if status.HasField("retry_after") else error.retry_after_s
    return kind(error.message, retry_after_s=retry_after_s)
