"""`ReadTicks` and `ListTicks`: stored ticks, in columns for programs and as rows for people."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from datahub.reads.ticks import ALL_KINDS, PAGE_ROWS, TickPlace, TickReader
from datahub.rpc.gap_messages import gap_message
from datahub.rpc.series_messages import SeriesFinder, series_info, time_range
from datahub.series.series import Series
from datahub.store.statements import SQL
from quasar import paging
from quasar.convert import wire
from quasar.convert.columns import TickChunk, encode_ticks
from quasar.database.pool import Database
from quasar.errors import FieldViolation, InvalidArgument, InvalidCursor, InvalidFilter, QuasarError
from quasar.model.instants import from_ns
from quasar.model.ticks import Tick, TickFlag, TickKind
from quasar.rpc.errors import to_status
from quasar_proto.datahub.v1 import gap_pb2, market_data_pb2
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb

BATCH_ROWS: Final = 10_000
_TICKS_FIELD: Final = 2
_NUMBERS: Final = ("price", "size", "bid_price", "bid_size", "ask_price", "ask_size", "venue_sequence")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an answer stands: what a cursor holds."""

    index: int = 0
    after: TickPlace | None = None
    rows: int = 0


class TickCalls:
    """Answers both methods."""

    def __init__(self, database: Database, finder: SeriesFinder) -> None:
        """Read from `database`."""
        self._database = database
        self._finder = finder
        self._reader = TickReader(database)

    async def read(self, request: pb.ReadTicksRequest) -> AsyncGenerator[bytes, None]:
        """Yield the answer to `ReadTicks` as serialised messages."""
        asked = _asked("ReadTicks", request, "cursor", "batch_rows")
        place = _resume(asked, request.cursor)
        found = await self._finder.find_all(request.series)
        for index in range(place.index, len(found)):
            begin = place if place.index == index else _Place(index)
            async for message in self._series(request, found[index], begin, asked):
                yield message

    async def _series(
        self, request: pb.ReadTicksRequest, found: Series | QuasarError, begin: _Place, asked: Sequence[str]
    ) -> AsyncGenerator[bytes, None]:
        rows, last = begin.rows, begin.index == len(request.series) - 1
        end = pb.SeriesReadEnd(index=begin.index)
        gaps: list[gap_pb2.Gap] = []
        try:
            series = _of_ticks(found)
            end.series_id = series.series_id
            gaps = await self._gaps(request, series, begin.after)
            info: list[market_data_pb2.SeriesInfo] = [series_info(series)]
            async for page in self._pages(request, series, begin.after):
                rows += len(page.columns)
                due = [gap for gap in gaps if gap.start_time_ns <= page.last.event_ns]
                gaps = gaps[len(due) :]
                head = pb.ReadTicksResponse(series=info, gaps=due)
                info = []
                key = (begin.index, page.last.event_ns, page.last.sequence, rows)
                head.cursor = paging.page_token(asked, key)
                chunk = encode_ticks(TickChunk(series.series_id, page.columns))
                yield head.SerializeToString() + wire.embedded(_TICKS_FIELD, chunk)
        except QuasarError as error:
            end.error.CopyFrom(to_status(error, ""))
        end.rows = rows
        done = pb.ReadTicksResponse(ended=[end], gaps=gaps)
        if not last:
            done.cursor = paging.page_token(asked, (begin.index + 1, 0, -1, 0))
        yield done.SerializeToString()

    async def _pages(
        self, request: pb.ReadTicksRequest, series: Series, after: TickPlace | None
    ) -> AsyncGenerator[Any, None]:
        span, kinds = time_range(request.range), _kinds(request.kinds)
        if after is None and request.last_count:
            after = await self._reader.before_last(series, span, kinds, request.last_count)
        rows = min(request.batch_rows or BATCH_ROWS, PAGE_ROWS)
        async for page in self._reader.pages(series, span, kinds, after=after, rows=rows):
            yield page

    async def _gaps(self, request: pb.ReadTicksRequest, series: Series, after: TickPlace | None) -> list[gap_pb2.Gap]:
        span = time_range(request.range)
        since = span.start if after is None else from_ns(after.event_ns)
        earliest = from_ns(0) if after is None else since
        found = await self._database.fetch(SQL["tick_gaps"], series.series_id, since, span.end, earliest)
        return [gap_message(row) for row in found]

    async def page(self, request: pb.ListTicksRequest) -> pb.ListTicksResponse:
        """Return a page of ticks as rows."""
        size, newest_first = paging.page_size(request.page_size), _newest_first(request.order_by)
        series = _of_ticks(await self._finder.find(request.series))
        asked = _asked("ListTicks", request, "page_token", "page_size")
        key = paging.page_key(asked, request.page_token)
        after = None if key is None else TickPlace(int(key[0]), int(key[1]))
        span, kinds = time_range(request.range), _kinds(request.kinds)
        # One more than is shown, so that the last page knows that it is the last.
        found = await self._reader.page(series, span, kinds, after=after, rows=size + 1, newest_first=newest_first)
        response = pb.ListTicksResponse(series=series_info(series))
        if found is None:
            return response
        response.ticks.extend(_tick(tick) for tick in found.columns[:size].ticks())
        if len(found.columns) > size:
            shown = await self._reader.page(series, span, kinds, after=after, rows=size, newest_first=newest_first)
            assert shown is not None
            response.next_page_token = paging.page_token(asked, shown.last)
        return response


def _of_ticks(found: Series | QuasarError) -> Series:
    if isinstance(found, QuasarError):
        raise found
    if found.name.interval:
        description = f"must be a series of ticks, whose interval is empty, was {found.name}"
        raise InvalidArgument(f"series {description}.", violations=[FieldViolation("series", description)])
    return found


def _kinds(kinds: Sequence[int]) -> Sequence[TickKind]:
    return [TickKind(kind) for kind in kinds] or ALL_KINDS


def _asked(method: str, request: Any, *without: str) -> tuple[str, str]:
    rest = type(request)()
    rest.CopyFrom(request)
    for name in without:
        rest.ClearField(name)
    return method, rest.SerializeToString(deterministic=True).hex()


def _resume(asked: Sequence[str], cursor: str) -> _Place:
    try:
        key = paging.page_key(asked, cursor)
        if key is None:
            return _Place()
        index, event_ns, sequence, rows = (int(part) for part in key)
    except (InvalidCursor, ValueError) as error:
        raise InvalidCursor("The cursor must be one that an earlier answer to the same request gave.") from error
    return _Place(index, None if sequence < 0 else TickPlace(event_ns, sequence), rows)


def _newest_first(order_by: str) -> bool:
    words = order_by.split()
    if words in ([], ["event_time", "desc"]):
        return True
    if words in (["event_time"], ["event_time", "asc"]):
        return False
    description = f"must be event_time or event_time desc, was {order_by!r}"
    raise InvalidFilter(f"order_by {description}.", violations=[FieldViolation("order_by", description)])


def _tick(tick: Tick) -> market_data_pb2.Tick:
    """Return a tick as a message; a missing value is absent."""
    message = market_data_pb2.Tick(kind=int(tick.kind), side=int(tick.side))  # type: ignore[arg-type]  # as numbered
    message.event_time.FromNanoseconds(tick.event_time_ns)
    if tick.receive_time_ns is not None:
        message.receive_time.FromNanoseconds(tick.receive_time_ns)
    if tick.publish_time_ns is not None:
        message.publish_time.FromNanoseconds(tick.publish_time_ns)
    for name in _NUMBERS:
        value = getattr(tick, name)
        if value is not None:
            setattr(message, name, value)
    if tick.trade_id is not None:
        message.trade_id = str(tick.trade_id)
    message.flags.extend(int(flag) for flag in TickFlag if flag and flag in tick.flags)  # type: ignore[misc]
    return message
