"""The stream of `ReadBars`: columns of one or many series, in messages that are built of encoded chunks."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from datahub.reads.ahead import ahead
from datahub.reads.bars import FIRST_ROWS, PAGE_ROWS, until
from datahub.reads.forming import Forming, FormingOf, forming_row, nothing_forms
from datahub.reads.query import Adjustment, BarQuery, Source
from datahub.reads.readable import Readable
from datahub.reads.resampling import BarSource
from datahub.rpc.readable_series import ReadableFinder, readable_id, readable_info
from datahub.rpc.series_messages import time_range
from quasar import paging
from quasar.clock import Clock
from quasar.convert import wire
from quasar.convert.columns import BarChunk, bar_pieces
from quasar.errors import InvalidArgument, InvalidCursor, QuasarError
from quasar.model.bars import BarColumns
from quasar.model.instants import TimeRange, from_ns, to_ns
from quasar.model.intervals import Interval
from quasar.rpc.errors import to_status
from quasar.rpc.wellknown import instant
from quasar_proto.datahub.v1 import market_data_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb

BATCH_ROWS = 10_000
_BARS_FIELD = 2
_NAMES = {
    market_data_pb2.BAR_COLUMN_KNOWN_TIME: "known_time_ns",
    market_data_pb2.BAR_COLUMN_SOURCE_SERIES_ID: "source_series_id",
}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an answer stands: what a cursor holds."""

    index: int = 0
    """The series that comes next."""
    after_ns: int = 0
    """Rows of it up to this open time were sent; 0: none."""
    rows: int = 0
    """Rows of it that were sent."""


@dataclass(slots=True)
class _Message:
    """A message that is being filled."""

    series: list[market_data_pb2.SeriesInfo] = field(default_factory=list)
    chunks: list[wire.Buffer] = field(default_factory=list)
    """Pieces of encoded chunks, joined when the message is sent."""
    ended: list[pb.SeriesReadEnd] = field(default_factory=list)
    rows: int = 0


class ReadBars:
    """One call."""

    def __init__(
        self,
        source: BarSource,
        finder: ReadableFinder,
        clock: Clock,
        request: pb.ReadBarsRequest,
        forming: FormingOf = nothing_forms,
    ) -> None:
        """Answer `request`; `forming` tells the bars that are forming."""
        self._forming = forming
        self._source = source
        self._finder = finder
        self._request = request
        self._batch_rows = request.batch_rows or BATCH_ROWS
        self._enough_rows = min(self._batch_rows, FIRST_ROWS)
        without = pb.ReadBarsRequest()
        without.CopyFrom(request)
        without.cursor = ""
        without.batch_rows = 0
        self._asked = ("ReadBars", without.SerializeToString(deterministic=True).hex())
        self._place, self._read_time = self._resume(request.cursor, clock.now())
        self._message = _Message()
        self._target = Interval.parse(request.resample_interval) if request.resample_interval else None

    def _resume(self, cursor: str, now: dt.datetime) -> tuple[_Place, dt.datetime]:
        try:
            key = paging.page_key(self._asked, cursor)
            if key is None:
                return _Place(), now
            index, after_ns, rows, read_ns = (int(part) for part in key)
            return _Place(index, after_ns, rows), from_ns(read_ns)
        except (InvalidCursor, ValueError) as error:
            raise InvalidCursor("The cursor must be one that an earlier answer to the same request gave.") from error

    async def messages(self) -> AsyncGenerator[bytes, None]:
        """Yield the answer as serialised messages."""
        found = await self._finder.find_all(self._request.series, self._target)
        for index in range(self._place.index, len(found)):
            async with aclosing(self._series(index, found[index])) as messages:
                async for message in messages:
                    yield message
        yield self._flush(None)

    async def _series(self, index: int, found: Readable | QuasarError) -> AsyncGenerator[bytes, None]:
        place = self._place if self._place.index == index else _Place(index)
        series_id = readable_id(found, index) if isinstance(found, Readable) else 0
        error = found if isinstance(found, QuasarError) else None
        if isinstance(found, Readable):
            try:
                async with aclosing(self._columns(found, place)) as pages:
                    async for columns in pages:
                        for part in self._batches(columns):
                            if self._message.rows + len(part) > self._batch_rows:
                                yield self._flush(place)
                            place = _Place(index, int(part.open_time_ns[-1]), place.rows + len(part))
                            self._add(found, index, part)
                            if self._message.rows >= self._enough_rows:
                                yield self._flush(place)
            except QuasarError as failed:
                error = failed
        end = pb.SeriesReadEnd(index=index, series_id=series_id, rows=place.rows)
        if error is not None:
            end.error.CopyFrom(to_status(error, ""))
        self._message.ended.append(end)

    async def _columns(self, found: Readable, place: _Place) -> AsyncGenerator[BarColumns, None]:
        """Yield the bars of a series from a place on."""
        query, forming = self._query(), self._request.include_forming
        live = self._live_bar(found)
        if count := self._request.last_count:
            # One more than is wanted where the bar that is forming is one of them.
            span = await self._source.span_of_newest(found, query, count, include_forming=forming)
            if len(forming_row(live, query, place.after_ns)) and not place.after_ns:
                fewer = await self._source.span_of_newest(found, query, count - 1) if count > 1 else None
                start_ns = fewer.start_ns if fewer else live.bar.open_time_ns if live else span.start_ns
                span = TimeRange(max(span.start_ns, start_ns), span.end_ns)
            query = replace(query, span=span)
        if place.after_ns:
            start_ns = max(query.span.start_ns, place.after_ns + 1_000)
            query = replace(query, span=TimeRange(min(start_ns, query.span.end_ns), query.span.end_ns))
        rows = max(PAGE_ROWS, self._batch_rows)
        stored = self._source.pages(found, query, include_forming=forming, rows=rows)
        last_ns = place.after_ns
        async with aclosing(ahead(stored)) as pages:
            async for columns in pages:
                last_ns = int(columns.open_time_ns[-1]) if len(columns) else last_ns
                yield columns
        row = forming_row(live, query, last_ns)
        if len(row):
            yield row

    def _live_bar(self, found: Readable) -> Forming | None:
        """Return the bar of a stored series that is forming, if it is wanted; what was known at a time has none."""
        if not self._request.include_forming or found.target is not None or self._request.HasField("as_of"):
            return None
        return self._forming([found.series.series_id]).get(found.series.series_id)

    def _batches(self, columns: BarColumns) -> Iterator[BarColumns]:
        return (columns[start : start + self._batch_rows] for start in range(0, len(columns), self._batch_rows))

    def _query(self) -> BarQuery:
        return bar_query(self._request, self._read_time, tuple(column_names(self._request.columns)))

    def _add(self, found: Readable, index: int, columns: BarColumns) -> None:
        series_id = readable_id(found, index)
        if not any(info.series_id == series_id for info in self._message.series):
            self._message.series.append(readable_info(found, index))
        pieces = bar_pieces(BarChunk(series_id, columns, self._request.adjustment))
        self._message.chunks += (wire.opening(_BARS_FIELD, sum(memoryview(piece).nbytes for piece in pieces)), *pieces)
        self._message.rows += len(columns)

    def _flush(self, place: _Place | None) -> bytes:
        """Return the message that was filled and begin another one."""
        message, self._message = self._message, _Message()
        head = pb.ReadBarsResponse(series=message.series, ended=message.ended)
        head.read_time.FromDatetime(self._read_time)
        if place is not None:
            key = (place.index, place.after_ns, place.rows, to_ns(self._read_time))
            head.cursor = paging.page_token(self._asked, key)
        return b"".join([head.SerializeToString(), *message.chunks])


def bar_query(request: Any, read_time: dt.datetime, columns: tuple[str, ...] = ()) -> BarQuery:
    """Return the query of a `ReadBarsRequest` or `ListBarsRequest`.

    Raises:
        InvalidArgument: `as_of` lies in the future.
    """
    known_at = instant(request.as_of) if request.HasField("as_of") else read_time
    if known_at > read_time:
        raise InvalidArgument(f"as_of must not be in the future, was {known_at.isoformat()}")
    return BarQuery(
        known_at=known_at,
        span=until(time_range(request.range), dt.datetime(2261, 12, 31, tzinfo=dt.UTC)),
        source=Source(request.source or Source.MERGED),
        own_only=request.own_provider_only,
        adjustment=Adjustment(request.adjustment or Adjustment.RAW),
        columns=columns,
    )


def column_names(columns: Any) -> list[str]:
    """Return the names of columns as `BarColumns` has them."""
    return [
        _NAMES.get(column, market_data_pb2.BarColumn.Name(column).removeprefix("BAR_COLUMN_").lower())
        for column in columns
    ]
