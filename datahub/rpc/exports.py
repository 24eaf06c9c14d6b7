"""`ExportSeries`: a header, the bytes of a file in order, a summary with the digest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from datahub.reads.export import BarExport, Export, TickExport, file_data
from datahub.reads.files import KEYS, MEDIA_TYPES, SUFFIXES, FileFormat
from datahub.reads.query import EVERYTHING
from datahub.reads.readable import Readable
from datahub.reads.resampling import BarSource
from datahub.reads.ticks import TickReader
from datahub.rpc.read_bars import bar_query, column_names
from datahub.rpc.readable_series import ReadableFinder
from datahub.rpc.series_messages import SeriesFinder, time_range
from datahub.series.series import Series, SeriesName
from datahub.store.statements import SQL
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.errors import FailedPrecondition, InvalidArgument, QuasarError
from quasar.model.instants import TimeRange
from quasar.model.intervals import Interval
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb

PIECE_BYTES = 1 << 20
_UNSAFE = re.compile(r"[^A-Za-z0-9.]+")


class Exports:
    """Writes files of bars and of ticks."""

    def __init__(self, database: Database, source: BarSource, finder: SeriesFinder, clock: Clock) -> None:
        """Read from `database`."""
        self._database = database
        self._source = source
        self._ticks = TickReader(database)
        self._finder = finder
        self._readable = ReadableFinder(database, finder)
        self._clock = clock

    async def messages(self, request: pb.ExportSeriesRequest) -> AsyncGenerator[pb.ExportSeriesResponse, None]:
        """Yield the file.

        Raises:
            NotFound: A series does not exist.
            FailedPrecondition: An adjusted read without factors, or bars and ticks in one file.
            InvalidArgument: Ticks at an interval, as of a time, adjusted, or with columns of bars.
        """
        of_ticks = [_of_ticks(each) for each in await self._finder.find_all(request.series)]
        if any(of_ticks) and not all(of_ticks):
            raise FailedPrecondition("The series of one file must be all of bars or all of ticks, were of both.")
        form = FileFormat(request.format)
        if all(of_ticks):
            export: Export = await self._prepared_ticks(request)
            header = await self._tick_header(export, form)
        else:
            prepared = await self._prepared(request)
            export, header = prepared, await self._header(prepared, form)
        yield pb.ExportSeriesResponse(header=header)
        async with aclosing(_pieces(export, form)) as pieces:
            async for piece in pieces:
                yield piece

    async def _prepared(self, request: pb.ExportSeriesRequest) -> BarExport:
        """Return what is to be written; whatever can be wrong is found before the first byte."""
        target = Interval.parse(request.resample_interval, "resample_interval") if request.resample_interval else None
        found = _found(await self._readable.find_all(request.series, target))
        read = pb.ReadBarsRequest(source=request.source, adjustment=request.adjustment, range=request.range)
        if request.HasField("as_of"):
            read.as_of.CopyFrom(request.as_of)
        query = bar_query(read, self._clock.now(), tuple(column_names(request.columns)))
        for each in found:
            await self._source.reader.splits(each.series, query)
        return BarExport(self._source, found, query)

    async def _prepared_ticks(self, request: pb.ExportSeriesRequest) -> TickExport:
        given = [
            name
            for name in ("resample_interval", "as_of", "adjustment", "source", "columns")
            if name in {field.name for field, _ in request.ListFields()}
        ]
        if given:
            raise InvalidArgument(f"A file of ticks must be asked for without {', '.join(given)}, which is for bars.")
        series = [each for each in await self._finder.find_all(request.series) if isinstance(each, Series)]
        return TickExport(self._ticks, series, time_range(request.range))

    async def _header(self, export: BarExport, form: FileFormat) -> pb.ExportHeader:
        rows = await self._rows([each.series for each in export.series])
        span = export.query.span
        if span.start_ns > EVERYTHING.start_ns and span.length_ns < 366 * 86_400 * 10**9:
            rows = min(rows, sum(each.series.expected_between(span.start_ns, span.end_ns) for each in export.series))
        finer = [each.target.length_ns // each.series.interval.length_ns for each in export.series if each.target]
        return _header(export, form, span, rows // max(1, min(finer, default=1)))

    async def _tick_header(self, export: Export, form: FileFormat) -> pb.ExportHeader:
        assert isinstance(export, TickExport)
        return _header(export, form, export.span, await self._rows(export.series))

    async def _rows(self, series: Sequence[Series]) -> int:
        return int(await self._database.fetchval(SQL["rows_of_series"], [each.series_id for each in series]))


async def _pieces(export: Export, form: FileFormat) -> AsyncGenerator[pb.ExportSeriesResponse, None]:
    """Yield the bytes of a file in pieces, and what they were at the end."""
    digest = hashlib.sha256()
    rows, size = 0, 0
    waiting = bytearray()
    async with aclosing(file_data(export, form)) as parts:
        async for data, count in parts:
            rows += count
            size += len(data)
            digest.update(data)
            waiting += data
            while len(waiting) >= PIECE_BYTES:
                yield pb.ExportSeriesResponse(data=bytes(waiting[:PIECE_BYTES]))
                del waiting[:PIECE_BYTES]
    if waiting:
        yield pb.ExportSeriesResponse(data=bytes(waiting))
    yield pb.ExportSeriesResponse(summary=pb.ExportSummary(rows=rows, size_bytes=size, sha256=digest.hexdigest()))


def _header(export: Export, form: FileFormat, span: TimeRange, rows: int) -> pb.ExportHeader:
    return pb.ExportHeader(
        file_name=file_name(export.names, span, SUFFIXES[form]),
        content_type=MEDIA_TYPES[form],
        columns=[*KEYS, *export.kinds],
        estimated_rows=rows,
    )


def _of_ticks(found: Series | QuasarError) -> bool:
    return isinstance(found, Series) and not found.name.interval


def _found(found: Sequence[Readable | QuasarError]) -> list[Readable]:
    for each in found:
        if isinstance(each, QuasarError):
            raise each
    return [each for each in found if isinstance(each, Readable)]


def file_name(names: Sequence[SeriesName], span: TimeRange, suffix: str) -> str:
    """Return a name that any file system takes: `kraken_BTC-USD_1min_2026-01-01_2026-02-01.parquet`."""
    name = names[0]
    parts = [name.provider, name.symbol, name.interval or "ticks"]
    if len(names) > 1:
        parts = [f"{len(names)}-series"]
    if span.start_ns > EVERYTHING.start_ns:
        parts += [span.start.date().isoformat(), span.end.date().isoformat()]
    return "_".join(_UNSAFE.sub("-", part).strip("-.") for part in parts) + f".{suffix}"
