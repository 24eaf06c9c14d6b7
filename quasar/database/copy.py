"""Bulk rows between numpy columns and PostgreSQL's binary COPY format, with no Python object for a row.

The format (PostgreSQL manual, "COPY", section "Binary Format"): a header of 19 bytes, then for each row the number of fields (int16) and
for each field its length (int32, -1 for NULL) and its bytes, big-endian; at the end an int16 of -1. Rows of fixed-width types without
NULL all have one length, so the whole is one numpy record array. With NULLs, writing drops the missing bytes by one mask, and reading
finds where each row begins and then gathers column by column.

Times are int64 microseconds since 1970-01-01 UTC; the smallest and the largest int64 stand for -infinity and infinity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from quasar.errors import InvalidArgument

Kind = Literal["bool", "int2", "int4", "int8", "float4", "float8", "date", "timestamptz"]
Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

_HEADER = b"PGCOPY\n\xff\r\n\0" + b"\0" * 8
_TRAILER = b"\xff\xff"
_INT64 = np.iinfo(np.int64)
_EPOCH_US = 946_684_800_000_000
_EPOCH_DAYS = 10_957
# PostgreSQL's own bounds: 4714-11-24 BC to 294277-01-01, in microseconds since 2000, and in days since 2000 for dates.
_FIRST_US, _AFTER_US = -211_813_488_000_000_000, 9_223_371_331_200_000_000
_FIRST_DAY, _AFTER_DAY = -2_451_545, 2_145_031_949
_INFINITE_DAYS = np.iinfo(np.int32)

_WIRE: Mapping[str, str] = {
    "bool": "u1",
    "int2": ">i2",
    "int4": ">i4",
    "int8": ">i8",
    "float4": ">f4",
    "float8": ">f8",
    "date": ">i4",
    "timestamptz": ">i8",
}
_NATIVE: Mapping[str, type[np.generic]] = {
    "bool": np.bool_,
    "int2": np.int16,
    "int4": np.int32,
    "int8": np.int64,
    "float4": np.float32,
    "float8": np.float64,
    "date": np.int32,
    "timestamptz": np.int64,
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table or a query."""

    name: str
    """Its name."""
    kind: Kind
    """Its type in PostgreSQL."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The columns of a reply."""

    columns: Mapping[str, Array]
    """Values by name, native byte order; where `nulls` says that a value is missing, floats hold NaN and everything else 0."""
    nulls: Mapping[str, Mask]
    """For the columns that have missing values: which ones are."""
    rows: int
    """How many rows there are."""


class RowFormat:
    """Rows of fixed-width columns in binary COPY format. Build one for each table and keep it."""

    def __init__(self, columns: Sequence[Column]) -> None:
        """Describe the rows.

        Raises:
            ValueError: There is no column, or a name comes twice.
        """
        self.columns = tuple(columns)
        names = [column.name for column in self.columns]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"columns must have distinct names and be at least one, was {names}")
        fields: list[tuple[str, str]] = [("fields", ">i2")]
        for index, column in enumerate(self.columns):
            fields += [(f"length{index}", ">i4"), (f"value{index}", _WIRE[column.kind])]
        self.dtype = np.dtype(fields)

    @property
    def names(self) -> list[str]:
        """The names in order, as `copy_to_table(columns=…)` wants them."""
        return [column.name for column in self.columns]

    def encode(self, values: Mapping[str, Any], rows: int, nulls: Mapping[str, Mask] | None = None) -> memoryview:
        """Build the bytes for `connection.copy_to_table(…, source=…, format="binary")`.

        Args:
            values: For every column an array of `rows` values, or one value for all of them. Times are int64 microseconds, or
                `datetime64[us]`; dates are int32 days since 1970.
            rows: How many rows there are.
            nulls: For columns with missing values: a mask that is true where the value is missing.

        Returns:
            A memoryview, because asyncpg takes `bytes` for the name of a file.

        Raises:
            InvalidArgument: A column is missing, has another length, or holds values that its type cannot.
        """
        table = np.empty(rows, self.dtype)
        table["fields"] = len(self.columns)
        keep = None
        for index, column in enumerate(self.columns):
            mask = _mask(nulls, column.name, rows)
            width = self.dtype[2 * index + 2].itemsize
            table[f"length{index}"] = width if mask is None else np.where(mask, -1, width)
            table[f"value{index}"] = _to_wire(column, values, rows, mask)
            if mask is not None:
                keep = np.ones((rows, self.dtype.itemsize), np.bool_) if keep is None else keep
                start = self._offset(f"value{index}")
                keep[:, start : start + width] = ~mask[:, None]
        raw = table.view(np.uint8).reshape(rows, self.dtype.itemsize)
        body = raw.reshape(-1) if keep is None else raw[keep]
        return memoryview(np.concatenate([np.frombuffer(_HEADER, np.uint8), body, np.frombuffer(_TRAILER, np.uint8)]))

    def decode(self, data: bytes | bytearray | memoryview) -> Decoded:
        """Read the bytes of `connection.copy_from_query(…, format="binary")`.

        Raises:
            ValueError: The bytes are no binary COPY of these columns.
        """
        raw = np.frombuffer(data, np.uint8)
        if len(raw) < len(_HEADER) + len(_TRAILER) or raw[:11].tobytes() != _HEADER[:11] or raw[-2:].tobytes() != _TRAILER:
            raise ValueError("the data must be a complete binary COPY")
        body = raw[len(_HEADER) : -len(_TRAILER)]
        if len(body) % self.dtype.itemsize == 0:
            table = body.view(self.dtype)
            if self._is_plain(table):
                columns = {c.name: _from_wire(c, table[f"value{i}"]) for i, c in enumerate(self.columns)}
                return Decoded(columns, {}, len(table))
        return self._decode_with_nulls(body)

    def _offset(self, field: str) -> int:
        """Return where a field begins within a row."""
        assert self.dtype.fields is not None
        return int(self.dtype.fields[field][1])

    def _is_plain(self, table: Array) -> bool:
        """Tell whether every row has every value. A missing one shifts what follows, so all lengths are looked at."""
        if bool(np.any(table["fields"] != len(self.columns))):
            return False
        return all(
            bool(np.all(table[f"length{index}"] == self.dtype[2 * index + 2].itemsize)) for index in range(len(self.columns))
        )

    def _decode_with_nulls(self, body: Array) -> Decoded:
        """Read rows of different lengths."""
        offsets = self._row_starts(body) + 2
        padded = np.concatenate([body, np.zeros(16, np.uint8)])
        columns: dict[str, Array] = {}
        nulls: dict[str, Mask] = {}
        for index, column in enumerate(self.columns):
            width = self.dtype[2 * index + 2].itemsize
            missing = padded[offsets] == 0xFF
            values = padded[(offsets + 4)[:, None] + np.arange(width)].reshape(-1).view(_WIRE[column.kind])
            native = _from_wire(column, np.where(missing, values.dtype.type(0), values).astype(values.dtype))
            if missing.any():
                nulls[column.name] = missing
                native = np.where(missing, np.nan, native).astype(native.dtype) if native.dtype.kind == "f" else native
                native[missing] = np.nan if native.dtype.kind == "f" else 0
            columns[column.name] = native
            offsets = offsets + 4 + np.where(missing, 0, width)
        return Decoded(columns, nulls, len(offsets))

    def _row_starts(self, body: Array) -> npt.NDArray[np.int64]:
        """Find where each row begins.

        Each row's length depends on what it lacks, so this is the one step that goes row by row; it looks at one byte a column: the
        first byte of a length is 0xff for NULL and 0 otherwise.
        """
        data = body.tobytes()
        end, position, starts = len(data), 0, []
        widths = [4 + self.dtype[2 * index + 2].itemsize for index in range(len(self.columns))]
        count = len(self.columns).to_bytes(2, "big")
        try:
            while position < end:
                starts.append(position)
                if data[position : position + 2] != count:
                    raise ValueError(f"a row must have {len(self.columns)} columns")
                position += 2
                for width in widths:
                    position += 4 if data[position] else width
        except IndexError:
            position = end + 1
        if position != end:
            raise ValueError("the data must hold the columns " + ", ".join(f"{c.name} {c.kind}" for c in self.columns))
        return np.array(starts, np.int64)


def _mask(nulls: Mapping[str, Mask] | None, name: str, rows: int) -> Mask | None:
    """Return the mask of a column, or None when nothing is missing."""
    mask = None if nulls is None else nulls.get(name)
    if mask is None:
        return None
    mask = np.asarray(mask, np.bool_)
    if mask.shape != (rows,):
        raise InvalidArgument(f"the mask of column {name} must have {rows} values, was {mask.shape}")
    return mask if mask.any() else None


def _to_wire(column: Column, values: Mapping[str, Any], rows: int, mask: Mask | None) -> Array:
    """Return a column's values as they go over the wire, before the byte order is turned."""
    if column.name not in values:
        raise InvalidArgument(f"column {column.name} must be given")
    given = np.asarray(values[column.name])
    if given.dtype.kind == "M":
        if given.dtype != np.dtype("datetime64[us]"):
            raise InvalidArgument(f"column {column.name} must be datetime64[us] or int64 microseconds, was {given.dtype}")
        given = given.view(np.int64)
    if given.shape not in {(), (rows,)}:
        raise InvalidArgument(f"column {column.name} must have {rows} values, was {given.shape}")
    if mask is not None and given.shape:
        given = np.where(mask, given.dtype.type(0), given)
    if column.kind == "timestamptz":
        return _shifted(column, _whole(column, given), _EPOCH_US, (_FIRST_US, _AFTER_US), (_INT64.min, _INT64.max))
    if column.kind == "date":
        bounds = (int(_INFINITE_DAYS.min), int(_INFINITE_DAYS.max))
        return _shifted(column, _whole(column, given), _EPOCH_DAYS, (_FIRST_DAY, _AFTER_DAY), bounds)
    if column.kind in {"float4", "float8"}:
        return given
    return _whole(column, given)


def _whole(column: Column, given: Array) -> Array:
    """Return whole numbers that fit the column's type."""
    if given.dtype.kind not in "iub":
        raise InvalidArgument(f"column {column.name} must hold whole numbers, was {given.dtype}")
    if column.kind == "bool":
        return given.astype(np.bool_)
    bounds = np.iinfo(_NATIVE[column.kind])
    if given.size and (int(given.min()) < bounds.min or int(given.max()) > bounds.max):
        raise InvalidArgument(f"column {column.name} must be within {column.kind}, was {given.min()} to {given.max()}")
    return given.astype(_NATIVE[column.kind])


def _shifted(column: Column, given: Array, epoch: int, bounds: tuple[int, int], infinities: tuple[int, int]) -> Array:
    """Move the epoch from 1970 to 2000, keeping the infinities, and refuse what PostgreSQL cannot hold."""
    infinite = (given == infinities[0]) | (given == infinities[1])
    finite = np.where(infinite, epoch, given)
    # The upper bound in the 1970 epoch may lie beyond the type; then nothing that is finite passes it.
    low, high = bounds[0] + epoch, min(bounds[1] + epoch, infinities[1])
    if finite.size and (int(finite.min()) < low or int(finite.max()) >= high):
        raise InvalidArgument(f"column {column.name} must be a time that PostgreSQL can hold, was {finite.min()} to {finite.max()}")
    return np.where(infinite, given, finite - epoch)


def _from_wire(column: Column, values: Array) -> Array:
    """Return a column in native byte order, with times counted from 1970."""
    native = values.astype(_NATIVE[column.kind])
    if column.kind not in {"timestamptz", "date"}:
        return native
    infinities = (_INT64.min, _INT64.max) if column.kind == "timestamptz" else (_INFINITE_DAYS.min, _INFINITE_DAYS.max)
    epoch = native.dtype.type(_EPOCH_US if column.kind == "timestamptz" else _EPOCH_DAYS)
    finite = (native != infinities[0]) & (native != infinities[1])
    # A finite time near the end of PostgreSQL's range has no int64 form in microseconds since 1970; it is held at the last one.
    room = native > infinities[1] - epoch
    return np.where(finite, np.where(room, infinities[1] - 1, native + np.where(room, 0, epoch)), native).astype(native.dtype)
