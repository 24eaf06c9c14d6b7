"""Bars as a file, written piece by piece: Parquet, Arrow or CSV, of any size in little memory."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from datahub.reads.bars import BarReader
from datahub.reads.query import BarQuery
from datahub.series.series import Series
from quasar.model.bars import BarColumns
from quasar.model.columns import MISSING, Int64Array
from quasar.model.intervals import Interval

if TYPE_CHECKING:  # pyarrow takes a third of a second to load, and most services never write a file
    import pyarrow as pa


class FileFormat(IntEnum):
    """The format of a file; numbered as in the contract."""

    PARQUET = 1
    ARROW = 2
    CSV = 3


MEDIA_TYPES: Mapping[FileFormat, str] = {
    FileFormat.PARQUET: "application/vnd.apache.parquet",
    FileFormat.ARROW: "application/vnd.apache.arrow.stream",
    FileFormat.CSV: "text/csv; charset=utf-8; header=present",
}
SUFFIXES: Mapping[FileFormat, str] = {FileFormat.PARQUET: "parquet", FileFormat.ARROW: "arrow", FileFormat.CSV: "csv"}
KEYS = ("provider", "symbol", "interval")
TIMES: Mapping[str, str] = {
    "open_time": "open_time_ns",
    "close_time": "close_time_ns",
    "known_time": "known_time_ns",
}
"""Columns of times in files, with their names in `BarColumns`."""
_PRICES = ("open", "high", "low", "close", "volume")
_WHOLE = ("trade_count", "origin", "source_series_id")


def file_columns(optional: Sequence[str]) -> list[str]:
    """Return the columns of a file, in order.

    Args:
        optional: Optional columns as `BarColumns` names them.
    """
    return [*KEYS, "open_time", "close_time", *_PRICES, *(name.removesuffix("_ns") for name in optional)]


@dataclass(frozen=True, slots=True)
class Export:
    """What is to be written."""

    series: Sequence[Series]
    query: BarQuery
    format: FileFormat
    target: Interval | None = None
    """The interval that bars are computed at; None: each at its own."""

    async def pages(self, reader: BarReader) -> AsyncGenerator[tuple[Series, BarColumns], None]:
        """Yield the bars, series after series."""
        for series in self.series:
            if self.target is None or self.target == series.interval:
                found = reader.pages(series, self.query)
            else:
                found = reader.resampled(series, self.query, self.target)
            async for page in found:
                yield series, page

    async def data(self, reader: BarReader) -> AsyncGenerator[tuple[bytes, int], None]:
        """Yield the bytes of the file as they come, with the number of rows in them."""
        writer = await asyncio.to_thread(_FileWriter, self.format, self.query.columns)
        async for series, page in self.pages(reader):
            interval = self.target.code if self.target else series.name.interval
            names = (series.name.provider, series.name.symbol, interval)
            yield await asyncio.to_thread(writer.add, names, page), len(page)
        yield await asyncio.to_thread(writer.close), 0


class _Pieces(io.RawIOBase):
    """A file that only grows, whose bytes are taken away as they are written."""

    def __init__(self) -> None:
        super().__init__()
        self._written: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        """Tell that it can be written."""
        return True

    def write(self, data: Any) -> int:
        """Keep bytes until they are taken."""
        piece = bytes(data)
        self._written.append(piece)
        self._size += len(piece)
        return len(piece)

    def tell(self) -> int:
        """Return how much was written in all."""
        return self._size

    def take(self) -> bytes:
        """Return what was written since the last time."""
        pieces, self._written = self._written, []
        return b"".join(pieces)


class _FileWriter:
    """Writes one file."""

    def __init__(self, format: FileFormat, optional: Sequence[str]) -> None:  # noqa: A002 - the contract's word
        import pyarrow as pa

        self._format = format
        self._optional = optional
        self._sink = _Pieces()
        schema = pa.schema([(name, self._type(name)) for name in file_columns(optional)])
        self._schema = schema
        self._writer = self._open(schema)

    def _type(self, name: str) -> Any:
        import pyarrow as pa

        if name in KEYS:
            return pa.string()
        if name in TIMES:
            return pa.string() if self._format is FileFormat.CSV else pa.timestamp("us", "UTC")
        return pa.int64() if name in _WHOLE else pa.float64()

    def _open(self, schema: pa.Schema) -> Any:
        if self._format is FileFormat.PARQUET:
            import pyarrow.parquet as parquet

            return parquet.ParquetWriter(self._sink, schema, compression="zstd")
        if self._format is FileFormat.ARROW:
            import pyarrow as pa

            return pa.ipc.new_stream(self._sink, schema)
        import pyarrow.csv as csv

        return csv.CSVWriter(self._sink, schema)

    def add(self, names: Sequence[str], bars: BarColumns) -> bytes:
        """Write the bars of one series and return the bytes that are ready."""
        import pyarrow as pa

        columns = [pa.repeat(pa.scalar(name, pa.string()), len(bars)) for name in names]
        columns += [self._times(getattr(bars, TIMES[name])) for name in ("open_time", "close_time")]
        columns += [_floats(getattr(bars, name)) for name in _PRICES]
        for name in self._optional:
            columns.append(self._optional_column(bars, name))
        self._writer.write_batch(pa.record_batch(columns, schema=self._schema))
        return self._sink.take()

    def _optional_column(self, bars: BarColumns, name: str) -> pa.Array:
        import pyarrow as pa

        values = getattr(bars, name)
        if values is None:
            return pa.nulls(len(bars), self._type(name.removesuffix("_ns")))
        if name in TIMES.values():
            return self._times(values)
        if name in _WHOLE:
            whole = np.asarray(values, dtype=np.int64)
            return pa.array(whole, mask=whole == MISSING)
        return _floats(values)

    def _times(self, times_ns: Int64Array) -> pa.Array:
        import pyarrow as pa

        micros = times_ns // 1_000
        if self._format is not FileFormat.CSV:
            return pa.array(micros, pa.int64()).cast(pa.timestamp("us", "UTC"))
        unit: Literal["s", "us"] = "us" if (micros % 1_000_000).any() else "s"
        times = micros.astype(np.dtype("datetime64[us]"))
        return pa.array(np.datetime_as_string(times, unit=unit, timezone="UTC").tolist(), pa.string())

    def close(self) -> bytes:
        """End the file and return its last bytes."""
        self._writer.close()
        return self._sink.take()


def _floats(values: Any) -> pa.Array:
    import pyarrow as pa

    return pa.array(values, mask=np.isnan(values))
