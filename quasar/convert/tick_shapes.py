"""Chunks of ticks that look alike, decoded by what is known of the first of them.

Live feeds bring thousands of chunks of a few rows each second. Chunks with the same columns and as many rows have their
columns at the same places, so that one look at what stands between the columns tells whether a chunk is such a one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from struct import Struct
from typing import Any, Final

import numpy as np

from quasar.convert import wire
from quasar.convert.columns import TICK_CHUNK, Packing, decode_ticks
from quasar.convert.wire import WireType
from quasar.model.ticks import TickColumns

_SERIES_ID: Final = TICK_CHUNK.numbers["series_id"]
_COLUMNS: Final = {number: (name, packing) for name, (number, packing) in TICK_CHUNK.columns.items()}
_MOST: Final = 1_024
"""Shapes that are remembered, far more than an honest feed has."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """Where everything stands in chunks of one length; places count from the first byte of a chunk."""

    heads: Callable[[bytes, int], tuple[bytes, ...]]
    """Takes what stands before each field out of a chunk."""
    usual: tuple[bytes, ...]
    """What must stand there."""
    small: Callable[[bytes, int], tuple[bytes, ...]]
    """Takes the columns of bytes out of a chunk."""
    after_id: int
    """Where the series id ends, which begins behind one byte."""
    record: np.dtype[np.void]
    """A whole chunk as one value, whose fields are the columns where they stand."""
    columns: Callable[[Any], tuple[Any, ...]]
    """Takes the columns out of such a value."""
    make: Callable[[tuple[Any, ...]], TickColumns]


class TickShapes:
    """Decodes the chunks of one feed."""

    def __init__(self) -> None:
        """Begin without any shape."""
        self._known: dict[int, _Shape | None] = {}

    def decode(self, data: bytes, start: int, end: int) -> tuple[int, TickColumns]:
        """Decode a chunk that stands inside a message; return the id of its series, and its ticks.

        The columns are views of `data`.

        Raises:
            InvalidArgument: The bytes are not a chunk, or its columns have different lengths.
        """
        shape = self._known.get(end - start)
        if shape is None or shape.heads(data, start) != shape.usual:
            return self._thoroughly(data, start, end)
        series_id = data[start + 1]
        if shape.after_id != 2 or series_id > 0x7F:
            series_id, after = wire.read_varint(data, start + 1)
            if after != start + shape.after_id:
                return self._thoroughly(data, start, end)
        if not b"".join(shape.small(data, start)).isascii():  # values that several bytes make up
            return self._thoroughly(data, start, end)
        columns = shape.columns(np.ndarray((), shape.record, data, start))
        return series_id & 0xFFFF_FFFF, shape.make(columns)

    def _thoroughly(self, data: bytes, start: int, end: int) -> tuple[int, TickColumns]:
        chunk = memoryview(data)[start:end]
        found = decode_ticks(chunk)
        if len(chunk) not in self._known and len(self._known) < _MOST:
            self._known[len(chunk)] = _shape_of(bytes(chunk), len(found.columns))
        return found.series_id, found.columns


def _shape_of(chunk: bytes, rows: int) -> _Shape | None:
    """Return the shape of a chunk that was decoded; None when it is not as everybody writes it.

    That is: the series id in front, then each column once in one run of all rows, and nothing else.
    """
    fields = list(wire.read_fields(chunk))
    if len(fields) < 2 or fields[0][:2] != (_SERIES_ID, WireType.VARINT) or fields[0][3] != 1:
        return None
    after_id = last = fields[0][4]
    heads, small, usual, last_small = f"<1s{after_id - 1}x", "<", [chunk[:1]], 0
    places: dict[str, int] = {}
    forms = []
    for number, wire_type, _, start, end in fields[1:]:
        name, packing = _COLUMNS.get(number, ("", Packing.TEXT))
        if packing is Packing.TEXT or wire_type is not WireType.LENGTH or name in places:
            return None
        dtype = np.dtype(packing.value)
        if not rows or end - start != rows * dtype.itemsize:
            return None
        heads += f"{start - last}s{rows * dtype.itemsize}x"
        usual.append(chunk[last:start])
        places[name], last = start, end
        forms.append((dtype, (rows,)))
        if dtype.itemsize == 1:
            small += f"{start - last_small}x{rows}s"
            last_small = end
    if last != len(chunk) or len(places) < 2:
        return None
    names = tuple(places)
    record = np.dtype({"names": names, "formats": forms, "offsets": list(places.values()), "itemsize": last})
    return _Shape(
        heads=Struct(heads).unpack_from,
        usual=tuple(usual),
        small=Struct(small).unpack_from,
        after_id=after_id,
        record=record,
        columns=itemgetter(*names),
        make=TickColumns.maker(names),
    )
