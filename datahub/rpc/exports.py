"""`ExportSeries`: a header, the bytes of a file in order, a summary with the digest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncGenerator, Sequence

from datahub.reads.bars import BarReader
from datahub.reads.export import MEDIA_TYPES, SUFFIXES, Export, FileFormat, file_columns
from datahub.reads.query import EVERYTHING
from datahub.rpc.read_bars import bar_query, column_names
from datahub.rpc.series_messages import SeriesFinder, found_series
from datahub.series.series import Series
from datahub.store.statements import SQL
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.errors import FailedPrecondition
from quasar.model.instants import TimeRange
from quasar.model.intervals import Interval
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb

PIECE_BYTES = 1 << 20
_UNSAFE = re.compile(r"[^A-Za-z0-9.]+")


class Exports:
    """Writes files of bars."""

    def __init__(self, database: Database, reader: BarReader, finder: SeriesFinder, clock: Clock) -> None:
        """Read from `database`."""
        self._database = database
        self._reader = reader
        self._finder = finder
        self._clock = clock

    async def messages(self, request: pb.ExportSeriesRequest) -> AsyncGenerator[pb.ExportSeriesResponse, None]:
        """Yield the file.

        Raises:
            NotFound: A series does not exist.
            FailedPrecondition: An adjusted read without factors, or a series of ticks.
        """
        export = await self._prepared(request)
        yield pb.ExportSeriesResponse(header=await self._header(export))
        digest = hashlib.sha256()
        rows, size = 0, 0
        waiting = bytearray()
        async for data, count in export.data(self._reader):
            rows += count
            size += len(data)
            digest.update(data)
            waiting += data
            while len(waiting) >= PIECE_BYTES:
                yield pb.ExportSeriesResponse(data=bytes(waiting[:PIECE_BYTES]))
                del waiting[:PIECE_BYTES]
        if waiting:
            yield pb.ExportSeriesResponse(data=bytes(waiting))
        summary = pb.ExportSummary(rows=rows, size_bytes=size, sha256=digest.hexdigest())
        yield pb.ExportSeriesResponse(summary=summary)

    async def _prepared(self, request: pb.ExportSeriesRequest) -> Export:
        """Return what is to be written; whatever can be wrong is found before the first byte."""
        series = found_series(await self._finder.find_all(request.series))
        for each in series:
            if not each.name.interval:
                raise FailedPrecondition(f"{each.name} is a series of ticks; files hold bars, name a series of bars.")
        target = Interval.parse(request.resample_interval, "resample_interval") if request.resample_interval else None
        read = pb.ReadBarsRequest(source=request.source, adjustment=request.adjustment, range=request.range)
        if request.HasField("as_of"):
            read.as_of.CopyFrom(request.as_of)
        query = bar_query(read, self._clock.now(), tuple(column_names(request.columns)))
        for each in series:
            await self._reader.splits(each, query)
        return Export(series, query, FileFormat(request.format), target)

    async def _header(self, export: Export) -> pb.ExportHeader:
        rows = await self._database.fetchval(SQL["rows_of_series"], [each.series_id for each in export.series])
        span = export.query.span
        if span.start_ns > EVERYTHING.start_ns and span.length_ns < 366 * 86_400 * 10**9:
            rows = min(int(rows), sum(each.expected_between(span.start_ns, span.end_ns) for each in export.series))
        return pb.ExportHeader(
            file_name=file_name(export.series, span, export.target, SUFFIXES[export.format]),
            content_type=MEDIA_TYPES[export.format],
            columns=file_columns(export.query.columns),
            estimated_rows=int(rows),
        )


def file_name(series: Sequence[Series], span: TimeRange, target: Interval | None, suffix: str) -> str:
    """Return a name that any file system takes: `kraken_BTC-USD_1min_2026-01-01_2026-02-01.parquet`."""
    name = series[0].name
    parts = [name.provider, name.symbol, target.code if target else name.interval]
    if len(series) > 1:
        parts = [f"{len(series)}-series"]
    if span.start_ns > EVERYTHING.start_ns:
        parts += [span.start.date().isoformat(), span.end.date().isoformat()]
    return "_".join(_UNSAFE.sub("-", part).strip("-.") for part in parts) + f".{suffix}"
