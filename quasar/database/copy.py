"""Bulk rows between numpy columns and PostgreSQL's binary COPY format, with no Python object for a row.

The format (PostgreSQL manual, "COPY", section "Binary Format"): a header of 19 bytes, then for each row the number of
fields (int16) and for each field its length (int32, -1 for NULL) and its bytes, big-endian; at the end an int16 of -1.
Rows of fixed-width types without NULL all have one length, so the whole is one numpy record array. With NULLs, writing
drops the missing bytes by one mask, and reading finds where each row begins and then gathers column by column.

Times are int64 microseconds since 1970-01-01 UTC; the smallest and the largest int64 stand for -infinity and infinity.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
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
_BLOCK_ROWS = 4096
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
class _TimeScale:
    """How a type of PostgreSQL counts time, in units since 1970."""

    epoch: int
    """2000-01-01, where PostgreSQL counts from."""
    first: int
    """The first time that it has."""
    after: int
    """The first time after the last one that it has, or that has a number."""
    least: int
    """Stands for -infinity."""
    greatest: int
    """Stands for infinity."""


# 4714-11-24 BC to 294277-01-01, and to 5874898-01-01 for dates (PostgreSQL manual, "Date/Time Types").
_SCALES: Mapping[str, _TimeScale] = {
    "timestamptz": _TimeScale(946_684_800_000_000, -210_866_803_200_000_000, 2**63 - 1, -(2**63), 2**63 - 1),
    "date": _TimeScale(10_957, -2_440_588, 2_145_042_906, -(2**31), 2**31 - 1),
}


@dataclass(frozen=True, slots=True)
class _Run:
    """Neighbouring columns of one width, whose values one strided view shows."""

    first: int
    """Number of the first one."""
    count: int
    """How many there are."""
    width: int
    """Bytes of a value."""
    offset: int
    """Where the length of the first one begins within a row."""


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
    """Values by name, native byte order; where `nulls` says that one is missing, floats hold NaN and others 0."""
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
        self._widths = tuple(np.dtype(_WIRE[column.kind]).itemsize for column in self.columns)
        row = np.zeros(1, self.dtype)
        row["fields"] = len(self.columns)
        for index, width in enumerate(self._widths):
            row[f"length{index}"] = width
        self._template = row.view(np.uint8)
        self._runs = tuple(self._neighbours())

    @property
    def names(self) -> list[str]:
        """The names in order, as `copy_to_table(columns=…)` wants them."""
        return [column.name for column in self.columns]

    def encode(self, values: Mapping[str, Any], rows: int, nulls: Mapping[str, Mask] | None = None) -> memoryview:
        """Build the bytes for `connection.copy_to_table(…, source=…, format="binary")`.

        Args:
            values: For every column an array of `rows` values, or one value for all of them. Times are int64
                microseconds, or `datetime64[us]`; dates are int32 days since 1970.
            rows: How many rows there are.
            nulls: For columns with missing values: a mask that is true where the value is missing.

        Returns:
            A memoryview, because asyncpg takes `bytes` for the name of a file.

        Raises:
            InvalidArgument: A column is missing, has another length, or holds values that its type cannot.
        """
        pieces = self.encode_pieces(values, rows, nulls)
        buffer = np.empty(len(_HEADER) + rows * self.dtype.itemsize + len(_TRAILER), np.uint8)
        end = 0
        for piece in pieces:
            buffer[end : end + len(piece)] = np.frombuffer(piece, np.uint8)
            end += len(piece)
        return buffer[:end].data

    def encode_pieces(
        self, values: Mapping[str, Any], rows: int, nulls: Mapping[str, Mask] | None = None
    ) -> Iterator[memoryview]:
        """Build the same bytes piece by piece, so that the server reads the first rows while others are being built.

        What is given is checked at once; the arguments and errors are those of `encode`.
        """
        wire, absent = [], {}
        for index, column in enumerate(self.columns):
            mask = _mask(nulls, column.name, rows)
            wire.append(np.broadcast_to(_to_wire(column, values, rows, mask), (rows,)))
            if mask is not None:
                absent[index] = mask
        return self._pieces(wire, absent, rows)

    def _pieces(self, wire: Sequence[Array], absent: Mapping[int, Mask], rows: int) -> Iterator[memoryview]:
        yield memoryview(_HEADER)
        # Block by block, so that the rows that are being filled stay in the processor's cache.
        for start in range(0, rows, _BLOCK_ROWS):
            block = slice(start, min(start + _BLOCK_ROWS, rows))
            yield self._block([column[block] for column in wire], {i: mask[block] for i, mask in absent.items()}).data
        yield memoryview(_TRAILER)

    def _block(self, wire: Sequence[Array], absent: Mapping[int, Mask]) -> Array:
        """Return the bytes of some rows."""
        rows = np.empty((len(wire[0]), self.dtype.itemsize), np.uint8)
        rows[:] = self._template
        table = rows.reshape(-1).view(self.dtype)
        for index, values in enumerate(wire):
            table[f"value{index}"] = values
        if not absent:
            return rows.reshape(-1)
        # A missing value goes over the wire as a length alone.
        keep = np.ones(rows.shape, np.bool_)
        for index, mask in absent.items():
            table[f"length{index}"][mask] = -1
            start = self._offset(f"value{index}")
            keep[:, start : start + self._widths[index]] = ~mask[:, None]
        return rows[keep]

    def decode(self, data: bytes | bytearray | memoryview) -> Decoded:
        """Read the bytes of `connection.copy_from_query(…, format="binary")`.

        Raises:
            ValueError: The bytes are no binary COPY of these columns.
        """
        raw = np.frombuffer(data, np.uint8)
        if (
            len(raw) < len(_HEADER) + len(_TRAILER)
            or raw[:11].tobytes() != _HEADER[:11]
            or raw[-2:].tobytes() != _TRAILER
        ):
            raise ValueError("the data must be a complete binary COPY")
        body = raw[len(_HEADER) : -len(_TRAILER)]
        if len(body) % self.dtype.itemsize == 0 and self._is_plain(body):
            return self._decode_plain(body)
        return self._decode_with_nulls(body)

    def _offset(self, field: str) -> int:
        """Return where a field begins within a row."""
        assert self.dtype.fields is not None
        return int(self.dtype.fields[field][1])

    def _neighbours(self) -> Iterator[_Run]:
        numbered = enumerate(self._widths)
        for width, group in itertools.groupby(numbered, key=lambda each: each[1]):
            numbers = [number for number, _ in group]
            yield _Run(numbers[0], len(numbers), width, self._offset(f"length{numbers[0]}"))

    def _is_plain(self, body: Array) -> bool:
        """Tell whether every row has every value. A missing one shifts what follows, so all lengths are looked at."""
        size = self.dtype.itemsize
        rows = len(body) // size
        if not rows:
            return True
        if not bool(np.all(np.ndarray((rows,), ">i2", body, 0, (size,)) == len(self.columns))):
            return False
        return all(
            bool(np.all(np.ndarray((rows, run.count), ">i4", body, run.offset, (size, 4 + run.width)) == run.width))
            for run in self._runs
        )

    def _decode_plain(self, body: Array) -> Decoded:
        """Read rows that have every value."""
        size = self.dtype.itemsize
        rows = len(body) // size
        columns: dict[str, Array] = {}
        for run in self._runs:
            native = np.empty((run.count, rows), f"=u{run.width}")
            # Block by block, so that what one column left in the processor's cache serves the next one.
            for start in range(0, rows, _BLOCK_ROWS):
                count = min(_BLOCK_ROWS, rows - start)
                at, strides = start * size + run.offset + 4, (size, 4 + run.width)
                native[:, start : start + count] = np.ndarray((count, run.count), f">u{run.width}", body, at, strides).T
            for values, column in zip(native, self.columns[run.first : run.first + run.count], strict=True):
                columns[column.name] = _since_1970(column, values.view(_NATIVE[column.kind]))
        return Decoded(columns, {}, rows)

    def _decode_with_nulls(self, body: Array) -> Decoded:
        """Read rows of different lengths."""
        offsets = self._row_starts(body) + 2
        padded = np.concatenate([body, np.zeros(16, np.uint8)])
        columns: dict[str, Array] = {}
        nulls: dict[str, Mask] = {}
        for index, column in enumerate(self.columns):
            width = self._widths[index]
            missing = padded[offsets] == 0xFF
            # The same bytes seen as a value at every offset, so that picking the rows' values copies nothing else.
            everywhere = np.ndarray(len(padded) - width, _WIRE[column.kind], padded, strides=(1,))
            values = everywhere[offsets + 4]
            # What stands in the place of a missing value belongs to the next column, so it is overwritten.
            native = _from_wire(column, values)
            if missing.any():
                nulls[column.name] = missing
                native[missing] = np.nan if native.dtype.kind == "f" else 0
            columns[column.name] = native
            offsets = offsets + 4 + np.where(missing, 0, width)
        return Decoded(columns, nulls, len(offsets))

    def _row_starts(self, body: Array) -> npt.NDArray[np.int64]:
        """Find where each row begins.

        Each row's length depends on what it lacks, so this is the one step that goes row by row; it looks at one byte a
        column: the first byte of a length is 0xff for NULL and 0 otherwise.
        """
        data = body.tobytes()
        end, position, starts = len(data), 0, []
        widths = [4 + width for width in self._widths]
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
            raise InvalidArgument(
                f"column {column.name} must be datetime64[us] or int64 microseconds, was {given.dtype}"
            )
        given = given.view(np.int64)
    if given.shape not in {(), (rows,)}:
        raise InvalidArgument(f"column {column.name} must have {rows} values, was {given.shape}")
    if mask is not None and given.shape:
        given = np.where(mask, given.dtype.type(0), given)
    if column.kind in {"float4", "float8"}:
        return given
    scale = _SCALES.get(column.kind)
    return _whole(column, given) if scale is None else _shifted(column, _whole(column, given), scale)


def _whole(column: Column, given: Array) -> Array:
    """Return whole numbers that fit the column's type."""
    if given.dtype.kind not in "iub":
        raise InvalidArgument(f"column {column.name} must hold whole numbers, was {given.dtype}")
    native = np.dtype(_NATIVE[column.kind])
    if column.kind == "bool" or np.can_cast(given.dtype, native):
        return given.astype(native, copy=False)
    bounds = np.iinfo(native)
    if given.size and (int(given.min()) < bounds.min or int(given.max()) > bounds.max):
        raise InvalidArgument(f"column {column.name} must be within {column.kind}, was {given.min()} to {given.max()}")
    return given.astype(native)


def _shifted(column: Column, given: Array, scale: _TimeScale) -> Array:
    """Move the epoch from 1970 to 2000, keeping the infinities, and refuse what PostgreSQL cannot hold."""
    if not given.size:
        return given
    lowest, highest = int(given.min()), int(given.max())
    if lowest > scale.least and highest < scale.greatest:
        if lowest < scale.first or highest >= scale.after:
            raise InvalidArgument(
                f"column {column.name} must hold times that PostgreSQL has, was {lowest} to {highest}"
            )
        return given - scale.epoch
    infinite = (given == scale.least) | (given == scale.greatest)
    return np.where(infinite, given, _shifted(column, np.where(infinite, scale.epoch, given), scale))


def _from_wire(column: Column, values: Array) -> Array:
    """Return a column in native byte order, with times counted from 1970."""
    return _since_1970(column, values.astype(_NATIVE[column.kind]))


def _since_1970(column: Column, native: Array) -> Array:
    """Return a column of native values with times counted from 1970."""
    scale = _SCALES.get(column.kind)
    if scale is None or not native.size:
        return native
    # The last centuries of PostgreSQL's range have no number in microseconds since 1970; they are held at the last one.
    last = scale.greatest - scale.epoch - 1
    if int(native.min()) > scale.least and int(native.max()) <= last:
        return np.add(native, scale.epoch, dtype=native.dtype)
    infinite = (native == scale.least) | (native == scale.greatest)
    moved = np.add(np.minimum(native, last), scale.epoch, dtype=native.dtype)
    return np.where(infinite, native, moved).astype(native.dtype)
