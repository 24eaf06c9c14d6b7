"""Files written piece by piece: Parquet, Arrow or CSV, of any size in little memory."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from quasar.model.columns import MISSING, FloatArray, Int64Array

if TYPE_CHECKING:  # pyarrow takes a third of a second to load, and most services never write a file
    import pyarrow as pa

KEYS = ("provider", "symbol", "interval")
"""The columns that stand first in each file."""
_NS_PER_US = 1_000
_UNITS = ((1_000_000_000, "s"), (_NS_PER_US, "us"))


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

Kind = str
"""What a column of a file holds: `text`, `float`, `whole`, `time` (microseconds) or `instant` (nanoseconds)."""


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


class FileWriter:
    """Writes one file. Blocking: call it in a thread."""

    def __init__(self, format: FileFormat, kinds: Mapping[str, Kind]) -> None:  # noqa: A002 - the contract's word
        """Begin a file.

        Args:
            format: Its format.
            kinds: Its columns behind those of `KEYS`, in order, and what they hold.
        """
        import pyarrow as pa

        self._format = format
        self._kinds = kinds
        self._sink = _Pieces()
        fields = [(name, pa.string()) for name in KEYS]
        self._schema = pa.schema([*fields, *((name, self._type(kind)) for name, kind in kinds.items())])
        self._writer = self._open(self._schema)

    def add(self, names: Sequence[str], columns: Mapping[str, Any], rows: int) -> bytes:
        """Write rows of one series and return the bytes that are ready.

        Args:
            names: Provider, symbol and interval.
            columns: The values by column; numbers as numpy arrays (NaN and -1 stand for none), texts as arrays of
                str, times as nanoseconds. Columns that are not there are empty.
            rows: How many rows these are.
        """
        import pyarrow as pa

        arrays = [pa.repeat(pa.scalar(name, pa.string()), rows) for name in names]
        for name, kind in self._kinds.items():
            values = columns.get(name)
            arrays.append(pa.nulls(rows, self._type(kind)) if values is None else self._array(kind, values))
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))
        return self._sink.take()

    def close(self) -> bytes:
        """End the file and return its last bytes."""
        self._writer.close()
        return self._sink.take()

    def _type(self, kind: Kind) -> Any:
        import pyarrow as pa

        if kind in ("time", "instant"):
            unit = "us" if kind == "time" else "ns"
            return pa.string() if self._format is FileFormat.CSV else pa.timestamp(unit, "UTC")
        return {"text": pa.string(), "whole": pa.int64(), "float": pa.float64()}[kind]

    def _open(self, schema: pa.Schema) -> Any:
        if self._format is FileFormat.PARQUET:
            import pyarrow.parquet as parquet

            return parquet.ParquetWriter(self._sink, schema, compression="zstd")
        if self._format is FileFormat.ARROW:
            import pyarrow as pa

            return pa.ipc.new_stream(self._sink, schema)
        import pyarrow.csv as csv

        return csv.CSVWriter(self._sink, schema)

    def _array(self, kind: Kind, values: Any) -> pa.Array:
        import pyarrow as pa

        if kind in ("time", "instant"):
            return self._times(values, kind)
        if kind == "whole":
            whole = np.asarray(values, dtype=np.int64)
            return pa.array(whole, mask=whole == MISSING)
        return _floats(values) if kind == "float" else pa.array(values, pa.string())

    def _times(self, times_ns: Int64Array, kind: Kind) -> pa.Array:
        import pyarrow as pa

        missing = times_ns == MISSING
        if self._format is not FileFormat.CSV:
            whole = times_ns if kind == "instant" else times_ns // _NS_PER_US
            return pa.array(whole, pa.int64(), mask=missing).cast(self._type(kind))
        unit = next((each for step, each in _UNITS if not (times_ns % step).any()), "ns")
        stamps = times_ns.astype(np.dtype("datetime64[ns]"))
        texts = np.datetime_as_string(stamps, unit=unit, timezone="UTC")  # type: ignore[call-overload]  # a literal
        return pa.array(texts.tolist(), pa.string(), mask=missing if missing.any() else None)


def _floats(values: FloatArray) -> pa.Array:
    import pyarrow as pa

    return pa.array(values, mask=np.isnan(values))
