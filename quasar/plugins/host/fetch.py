"""One symbol of a fetch: what the author's code yields becomes columns, batches, and one final status."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import Message

from quasar import errors
from quasar.convert.columns import BarChunk, TickChunk, encode_bars, encode_ticks
from quasar.convert.plugin_batches import FETCH_BARS, joined
from quasar.convert.plugin_rows import rejected_to_proto
from quasar.model.bars import Bar, BarColumns
from quasar.model.ticks import Tick, TickColumns
from quasar.plugins.host.blame import told
from quasar.rpc.errors import to_status
from quasar.sdk.failures import Throttled, Unauthorised, Unsupported
from quasar.sdk.notices import EmptyRange, RejectedRow
from quasar.sdk.permits import TALLY, Tally
from quasar_proto.plugin.v1 import provider_pb2

Columns = BarColumns | TickColumns
Write = Callable[[bytes], Awaitable[None]]
_MOST_REJECTED: Final = 1_000
"""Rows that are told one by one; of the rest only the last one is."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How rows of one sort are gathered and encoded."""

    row: type[Any]
    """What authors yield one by one."""
    columns: type[Any]
    """What they may yield instead."""
    gather: Callable[[Any], Any]
    """Makes columns of rows."""
    encode: Callable[[int, Any], bytes]
    """Encodes columns under a series id."""


BARS: Final = Encoding(
    Bar, BarColumns, BarColumns.from_bars, lambda series_id, rows: encode_bars(BarChunk(series_id, rows))
)
TICKS: Final = Encoding(
    Tick, TickColumns, TickColumns.from_ticks, lambda series_id, rows: encode_ticks(TickChunk(series_id, rows))
)


class Fetch:
    """Runs one symbol of a request to its end."""

    def __init__(
        self,
        series_id: int,
        encoding: Encoding,
        answer: type[provider_pb2.FetchBarsResponse] | type[provider_pb2.FetchTicksResponse],
        write: Write,
        batch_rows: int,
        most_rows: int,
    ) -> None:
        """Prepare the symbol with the id that the request gave it.

        Args:
            series_id: Stands on every chunk and status.
            encoding: Bars or ticks.
            answer: The message to answer with.
            write: Sends one message.
            batch_rows: Rows in one chunk at most.
            most_rows: A source that sends more than its range can hold is cut off.
        """
        self._series_id = series_id
        self._encoding = encoding
        self._answer: Any = answer
        self._write = write
        self._batch_rows = batch_rows
        self._most_rows = most_rows
        self._rows: list[Any] = []
        self._sent = 0
        self._rejected = 0
        self._complete_until_ns = 0

    async def run(self, source: Callable[[], AsyncIterator[Any]], redact: Callable[[str], str]) -> None:
        """Send everything that the source yields, then how it ended and what it took."""
        tally = Tally()
        TALLY.set(tally)
        status = provider_pb2.FetchStatus(series_id=self._series_id, state=provider_pb2.FETCH_STATE_DONE)
        try:
            items = source()
            if not hasattr(items, "__aiter__"):
                raise TypeError("the method must be an async generator: async def with yield")
            async with aclosing(items) as following:  # type: ignore[type-var]  # an async generator, as was just seen
                async for item in following:
                    await self._take(item)
            await self._flush()
        except Exception as error:
            await self._flush_quietly()
            known = told(error)
            known.message = redact(known.message)
            status.state = _state(known)
            status.error.CopyFrom(to_status(known, ""))
            if known.retry_after_s is not None:
                status.retry_after.FromNanoseconds(int(known.retry_after_s * 1e9))
        status.complete_until_ns = self._complete_until_ns
        status.vendor_calls, status.bytes_received = tally.calls, tally.bytes_received
        status.rate_limit_wait.FromNanoseconds(int(tally.waited_s * 1e9))
        await self._write(self._answer(statuses=[status]).SerializeToString())

    async def _take(self, item: Any) -> None:
        encoding = self._encoding
        if type(item) is encoding.row:
            self._rows.append(item)
            if len(self._rows) >= self._batch_rows:
                await self._flush()
        elif isinstance(item, encoding.columns):
            await self._flush()
            await self._send(item)
        elif isinstance(item, RejectedRow):
            await self._reject([item])
        elif isinstance(item, EmptyRange):
            await self._flush()
            empty = provider_pb2.EmptyRange(
                series_id=self._series_id,
                start_time_ns=item.start_ns,
                end_time_ns=item.end_ns,
                no_trade=item.no_trade,
            )
            await self._write_rest(self._answer(empty_ranges=[empty]))
        else:
            names = f"{encoding.row.__name__}, {encoding.columns.__name__}, EmptyRange or RejectedRow"
            raise TypeError(f"yielded items must be {names}, was {type(item).__name__}")

    async def _flush(self) -> None:
        if not self._rows:
            return
        rows, self._rows = self._rows, []
        try:
            columns = self._encoding.gather(rows)
        except (TypeError, ValueError, OverflowError, errors.InvalidArgument):
            columns = await self._sorted_out(rows)
        await self._send(columns)

    async def _flush_quietly(self) -> None:
        try:
            await self._flush()
        except errors.PluginFailed:
            self._rows.clear()  # the error that is being told came first

    async def _sorted_out(self, rows: list[Any]) -> Any:
        """Gather rows one by one, and reject those that are no rows."""
        good, bad = [], []
        for row in rows:
            try:
                good.append(self._encoding.gather([row]))
            except (TypeError, ValueError, OverflowError, errors.InvalidArgument) as error:
                bad.append(
                    RejectedRow(f"{type(row).__name__} has a field of the wrong type: {error}", {"row": repr(row)})
                )
        await self._reject(bad)
        return self._encoding.columns.concatenate(good)

    async def _reject(self, rows: list[RejectedRow]) -> None:
        room = max(0, _MOST_REJECTED - self._rejected)
        self._rejected += len(rows)
        told_of = [rejected_to_proto(row, self._series_id) for row in rows[:room]]
        if told_of:
            await self._write_rest(self._answer(rejected=told_of))

    async def _send(self, columns: Columns) -> None:
        self._sent += len(columns)
        if self._sent > self._most_rows:
            raise errors.PluginFailed(
                f"the answer must have at most {self._most_rows} rows for its range, was more; yield what was asked for"
            )
        for start in range(0, len(columns), self._batch_rows):
            part = columns[start : start + self._batch_rows]
            await self._write(joined([(FETCH_BARS, self._encoding.encode(self._series_id, part))]))
        if len(columns):
            times = columns.open_time_ns if isinstance(columns, BarColumns) else columns.event_time_ns
            self._complete_until_ns = int(times[-1])

    async def _write_rest(self, message: Message) -> None:
        await self._write(message.SerializeToString())


def _state(error: errors.QuasarError) -> provider_pb2.FetchState.ValueType:
    if isinstance(error, Unauthorised):
        return provider_pb2.FETCH_STATE_UNAUTHORISED
    if isinstance(error, Throttled):
        return provider_pb2.FETCH_STATE_THROTTLED
    if isinstance(error, errors.NotFound):
        return provider_pb2.FETCH_STATE_UNKNOWN_SYMBOL
    if isinstance(error, Unsupported | errors.Unimplemented):
        return provider_pb2.FETCH_STATE_UNSUPPORTED
    return provider_pb2.FETCH_STATE_FAILED
