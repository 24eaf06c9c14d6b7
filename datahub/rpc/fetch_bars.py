"""Bars straight from a provider, to look at; nothing is stored."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from datahub.providers.entry import ProviderEntry
from datahub.providers.runtime import ProviderRuntime
from datahub.rpc.series_messages import time_range
from quasar.clock import Clock
from quasar.convert import wire
from quasar.convert.columns import BarChunk, encode_bars
from quasar.errors import FailedPrecondition
from quasar.model.bar_checks import check_bars
from quasar.model.bars import BarColumns
from quasar.model.instants import TimeRange, to_ns
from quasar.model.intervals import Interval
from quasar.plugins.batches import BarBatch
from quasar.plugins.permits import Lane
from quasar.rpc.errors import to_status
from quasar.rpc.wellknown import duration
from quasar.sdk.requests import BarRequest
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import market_data_pb2
from quasar_proto.datahub.v1 import provider_service_pb2 as pb

_LIMIT = 1_000
_SLOTS = 100
_BARS_FIELD = 2
_SHOWN_REJECTS = 100


class _Fetched:
    """What came of one symbol."""

    def __init__(self, symbol: str, left: int) -> None:
        self.end = pb.FetchEnd(symbol=symbol)
        self.left = left

    def take(self, columns: BarColumns, request: BarRequest) -> BarColumns:
        """Return the good bars of a batch, as many as are still wanted, and count the others."""
        check = check_bars(columns, request.span, interval=request.length)
        self.reject(*(reason for _, reason in check.rejected()))
        good = columns[check.good][: self.left]
        self.left -= len(good)
        self.end.rows += len(good)
        return good

    def reject(self, *reasons: str) -> None:
        """Count rows that are no bars."""
        self.end.rejected_count += len(reasons)
        self.end.rejected.extend(reasons[: _SHOWN_REJECTS - len(self.end.rejected)])


async def fetched(
    request: pb.FetchBarsRequest, entry: ProviderEntry, runtime: ProviderRuntime, clock: Clock
) -> AsyncGenerator[bytes, None]:
    """Yield what a provider answers for some symbols, as serialised messages.

    Raises:
        FailedPrecondition: The provider has no history, or not the interval.
        PluginUnavailable: It does not run.
    """
    interval = Interval.parse(request.interval)
    if not entry.serves(interval.code):
        offered = ", ".join(entry.manifest.intervals) or "none"
        raise FailedPrecondition(f"Provider {entry.name} has no history at {interval.code}; it has: {offered}.")
    span = _span(request, interval, clock)
    wanted = [BarRequest(symbol, interval.code, span.start_ns, span.end_ns) for symbol in request.symbols]
    found = [_Fetched(symbol, request.limit or _LIMIT) for symbol in request.symbols]
    began = clock.monotonic()
    handle = await runtime.handle(entry.name)
    yield pb.FetchBarsResponse(
        series=[_info(entry.name, one, place) for place, one in enumerate(wanted)]
    ).SerializeToString()
    async with aclosing(handle.fetch_bars(wanted, lane=Lane.INTERACTIVE)) as batches:
        async for batch in batches:
            message = _message(batch, wanted[batch.request], found[batch.request], clock.monotonic() - began)
            if message:
                yield message


def _message(batch: BarBatch, request: BarRequest, one: _Fetched, elapsed_s: float) -> bytes:
    parts: list[bytes] = []
    one.reject(*(row.detail for row in batch.rejected))
    if batch.columns is not None and one.left > 0:
        good = one.take(batch.columns, request)
        if len(good):
            parts.append(wire.embedded(_BARS_FIELD, encode_bars(BarChunk(batch.request + 1, good))))
    if batch.done:
        one.end.elapsed.CopyFrom(duration(elapsed_s) or one.end.elapsed)
        one.end.vendor_calls = batch.tally.calls
        one.end.rate_limit_wait.CopyFrom(duration(batch.tally.waited_s) or one.end.rate_limit_wait)
        if batch.error is not None:
            one.end.error.CopyFrom(to_status(batch.error, ""))
        parts.append(pb.FetchBarsResponse(ended=[one.end]).SerializeToString())
    return b"".join(parts)


def _span(request: pb.FetchBarsRequest, interval: Interval, clock: Clock) -> TimeRange:
    end = interval.floor_ns(to_ns(clock.now())) if interval.is_time else to_ns(clock.now())
    length = interval.length_ns or 31 * 86_400 * 10**9
    span = time_range(request.range, default=TimeRange(end - _SLOTS * length, end))
    return TimeRange(min(span.start_ns, span.end_ns), min(span.end_ns, to_ns(clock.now())))


def _info(provider: str, request: BarRequest, place: int) -> market_data_pb2.SeriesInfo:
    key = values_pb2.SeriesKey(provider=provider, symbol=request.symbol, interval=request.interval)
    return market_data_pb2.SeriesInfo(series_id=place + 1, key=key)
