"""Chunks of columns to and from their bytes on the wire, without protobuf objects between.

A chunk is an ordinary protobuf message to every other reader. Here its packed columns are written from numpy arrays and
read back as numpy views of the message's bytes. The tables below are the layout in
`proto/quasar/datahub/v1/market_data.proto`, whose head states the rules for columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from quasar.convert import wire
from quasar.convert.wire import Buffer, WireType
from quasar.errors import InvalidArgument
from quasar.model.bars import BarColumns
from quasar.model.ticks import TickColumns, TickKind


class Packing(Enum):
    """How the values of a column are written."""

    DOUBLE = "<f8"
    """A packed run of doubles."""
    SFIXED64 = "<i8"
    """A packed run of sfixed64."""
    FIXED32 = "<u4"
    """A packed run of fixed32."""
    BYTE = "u1"
    """A packed run of varints that are all below 128: enums and flags."""
    TEXT = "O"
    """Strings, one field a row."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the columns and the single numbers of a chunk stand."""

    message: str
    """The message's name."""
    key: str
    """The column that gives the number of rows."""
    columns: Mapping[str, tuple[int, Packing]]
    """Name of each column, as in the model → field number and packing."""
    numbers: Mapping[str, int]
    """Name of each single varint → field number."""


BAR_CHUNK = Layout(
    "BarChunk",
    "open_time_ns",
    {
        "open_time_ns": (2, Packing.SFIXED64),
        "close_time_ns": (3, Packing.SFIXED64),
        "open": (4, Packing.DOUBLE),
        "high": (5, Packing.DOUBLE),
        "low": (6, Packing.DOUBLE),
        "close": (7, Packing.DOUBLE),
        "volume": (8, Packing.DOUBLE),
        "state": (9, Packing.BYTE),
        "trade_count": (10, Packing.SFIXED64),
        "vwap": (11, Packing.DOUBLE),
        "quote_volume": (12, Packing.DOUBLE),
        "origin": (13, Packing.BYTE),
        "source_series_id": (14, Packing.FIXED32),
        "known_time_ns": (15, Packing.SFIXED64),
        "adjusted_close": (16, Packing.DOUBLE),
        "dividend": (17, Packing.DOUBLE),
        "split_factor": (18, Packing.DOUBLE),
        "open_interest": (19, Packing.DOUBLE),
    },
    {"series_id": 1, "adjustment": 20},
)
"""`quasar.datahub.v1.BarChunk`."""

TICK_CHUNK = Layout(
    "TickChunk",
    "event_time_ns",
    {
        "event_time_ns": (2, Packing.SFIXED64),
        "receive_time_ns": (3, Packing.SFIXED64),
        "publish_time_ns": (4, Packing.SFIXED64),
        "kind": (5, Packing.BYTE),
        "price": (6, Packing.DOUBLE),
        "size": (7, Packing.DOUBLE),
        "side": (8, Packing.BYTE),
        "bid_price": (9, Packing.DOUBLE),
        "bid_size": (10, Packing.DOUBLE),
        "ask_price": (11, Packing.DOUBLE),
        "ask_size": (12, Packing.DOUBLE),
        "venue_sequence": (13, Packing.SFIXED64),
        "trade_id": (14, Packing.SFIXED64),
        "trade_id_text": (15, Packing.TEXT),
        "flags": (16, Packing.BYTE),
    },
    {"series_id": 1, "first_sequence": 17},
)
"""`quasar.datahub.v1.TickChunk`."""

_PRICES = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True, eq=False)
class BarChunk:
    """Bars of one series as they travel."""

    series_id: int
    """The series, as announced by a `SeriesInfo`; never 0."""
    columns: BarColumns
    """Rows by open time, ascending."""
    adjustment: int = 0
    """A value of the contract's `Adjustment`; 0 and 1 are prices as traded."""


@dataclass(frozen=True, slots=True, eq=False)
class TickChunk:
    """Ticks of one provider symbol as they travel."""

    series_id: int
    """The tick series, as announced by a `SeriesInfo`; never 0."""
    columns: TickColumns
    """Rows by event time, ascending."""
    first_sequence: int = 0
    """Position of the first row among all ticks of this series and kind since the epoch began; 0 when not live."""


def encode_bars(chunk: BarChunk) -> bytes:
    """Encode a chunk of bars; columns without any value are left out.

    Raises:
        InvalidArgument: A value does not fit its column.
    """
    return b"".join(bar_pieces(chunk))


def bar_pieces(chunk: BarChunk) -> list[Buffer]:
    """Return the bytes of `encode_bars` in pieces, the columns as they lie in memory, to be joined into a message once.

    Raises:
        InvalidArgument: A value does not fit its column.
    """
    columns = {name: getattr(chunk.columns, name) for name in BAR_CHUNK.columns}
    if np.isnan(chunk.columns.volume).all():
        columns["volume"] = None
    return _pieces(BAR_CHUNK, columns, {"series_id": chunk.series_id, "adjustment": chunk.adjustment})


def encode_ticks(chunk: TickChunk) -> bytes:
    """Encode a chunk of ticks; columns without any value are left out, the kind never is.

    Raises:
        InvalidArgument: A value does not fit its column.
    """
    columns = {name: getattr(chunk.columns, name) for name in TICK_CHUNK.columns}
    if columns["kind"] is None:
        columns["kind"] = np.full(len(chunk.columns), TickKind.TRADE, dtype=np.uint8)
    pieces = _pieces(TICK_CHUNK, columns, {"series_id": chunk.series_id, "first_sequence": chunk.first_sequence})
    return b"".join(pieces)


def encode_column(layout: Layout, name: str, values: npt.NDArray[Any]) -> bytes:
    """Encode one column alone, to be appended to an encoded chunk of as many rows that lacks it.

    Raises:
        InvalidArgument: A value does not fit the column.
    """
    return b"".join(_column_parts(name, *layout.columns[name], values))


def decode_bars(data: Buffer) -> BarChunk:
    """Decode a chunk of bars; the columns are views of `data` wherever a column came in one run.

    Raises:
        InvalidArgument: The bytes are not a chunk, or its columns have different lengths.
    """
    columns, numbers = _decode(BAR_CHUNK, data)
    rows = len(columns.setdefault("open_time_ns", np.empty(0, dtype=np.int64)))
    for name in _PRICES:
        if name not in columns:
            columns[name] = np.full(rows, np.nan)
    return BarChunk(numbers.get("series_id", 0) & 0xFFFF_FFFF, BarColumns(**columns), numbers.get("adjustment", 0))


def decode_ticks(data: Buffer) -> TickChunk:
    """Decode a chunk of ticks; the columns are views of `data` wherever a column came in one run.

    Raises:
        InvalidArgument: The bytes are not a chunk, or its columns have different lengths.
    """
    view = memoryview(data)
    straight = _decode_straight(TICK_CHUNK, view) if view.readonly else None
    if straight is not None:
        columns, numbers = straight
        ticks = TickColumns.trusted(columns)
    else:
        columns, numbers = _decode(TICK_CHUNK, data)
        columns.setdefault("event_time_ns", np.empty(0, dtype=np.int64))
        ticks = TickColumns(**columns)
    return TickChunk(numbers.get("series_id", 0) & 0xFFFF_FFFF, ticks, numbers.get("first_sequence", 0))


def _pieces(layout: Layout, columns: Mapping[str, npt.NDArray[Any] | None], numbers: Mapping[str, int]) -> list[Buffer]:
    parts: list[Buffer] = []
    for name, value in numbers.items():
        if value:
            parts += (wire.tag(layout.numbers[name], WireType.VARINT), wire.varint(value))
    for name, (number, packing) in layout.columns.items():
        values = columns[name]
        if values is not None and len(values):
            parts += _column_parts(name, number, packing, values)
    return parts


def _column_parts(name: str, number: int, packing: Packing, values: npt.NDArray[Any]) -> Iterable[Buffer]:
    if packing is Packing.TEXT:
        return [wire.embedded(number, str(value).encode()) for value in values]
    run = np.ascontiguousarray(values, dtype=packing.value)
    if packing is Packing.BYTE and len(run) and run.max() > 0x7F:
        raise InvalidArgument(f"{name} must hold values below 128, was {run.max()}")
    return (wire.tag(number, WireType.LENGTH), wire.varint(run.nbytes), run.data)


def _usual_fields(layout: Layout) -> Mapping[int, tuple[str, np.dtype[Any] | None, int]]:
    """Return, by the tag that stands before it, each column in one packed run and each number.

    A column comes with its type and with how often the length of its run is halved to get the number of its rows.
    """
    types = {name: np.dtype(packing.value) for name, (_, packing) in layout.columns.items()}
    columns: dict[int, tuple[str, np.dtype[Any] | None, int]] = {
        number << 3 | WireType.LENGTH: (name, types[name], types[name].itemsize.bit_length() - 1)
        for name, (number, packing) in layout.columns.items()
        if packing is not Packing.TEXT
    }
    return columns | {number << 3 | WireType.VARINT: (name, None, 0) for name, number in layout.numbers.items()}


_USUAL = {layout.message: _usual_fields(layout) for layout in (BAR_CHUNK, TICK_CHUNK)}


def _decode_straight(layout: Layout, data: memoryview) -> tuple[dict[str, npt.NDArray[Any]], dict[str, int]] | None:
    """Decode a chunk as everybody writes it: each column in one run, all of one length; None when it is another.

    Most chunks are small, so this is one loop without a call for each field.
    """
    at, end = 0, len(data)
    usual, from_buffer = _USUAL[layout.message], np.frombuffer
    columns: dict[str, npt.NDArray[Any]] = {}
    numbers: dict[str, int] = {}
    rows = -1
    try:
        while at < end:
            tag, value = data[at], data[at + 1]
            at += 2
            if tag > 0x7F:
                tag, value, at = tag & 0x7F | value << 7, data[at], at + 1
            name, dtype, halvings = usual[tag]
            if value > 0x7F:
                value, at = wire.read_varint(data, at - 1)
            if dtype is None:
                numbers[name] = value
                continue
            count = value >> halvings
            if not count or count << halvings != value or name in columns or count != (count if rows < 0 else rows):
                return None
            if at + value > end or (not halvings and not bytes(data[at : at + value]).isascii()):
                return None
            rows, columns[name] = count, from_buffer(data, dtype, count, at)
            at += value
    except (KeyError, IndexError, ValueError, InvalidArgument):
        return None  # the thorough way tells what is wrong, if anything is
    return (columns, numbers) if at == end and layout.key in columns else None


def _decode(layout: Layout, data: Buffer) -> tuple[dict[str, npt.NDArray[Any]], dict[str, int]]:
    """Collect the runs of each column, in any order and any number, and the last value of each number."""
    straight = _decode_straight(layout, memoryview(data))
    if straight is not None:
        return straight
    names = {number: (name, packing) for name, (number, packing) in layout.columns.items()}
    singles = {number: name for name, number in layout.numbers.items()}
    runs: dict[str, list[tuple[int, int]]] = {}
    numbers: dict[str, int] = {}
    for number, wire_type, value, start, end in wire.read_fields(data):
        if number in singles and wire_type is WireType.VARINT:
            numbers[singles[number]] = value
        elif number in names:
            name, packing = names[number]
            _check_wire_type(layout, name, packing, wire_type, end - start)
            runs.setdefault(name, []).append((start, end))
    columns = {
        name: _read_column(memoryview(data), layout.columns[name][1], spans)
        for name, spans in runs.items()
        if any(end > start for start, end in spans) or layout.columns[name][1] is Packing.TEXT
    }
    _check_lengths(layout, columns)
    return columns, numbers


_UNPACKED = {
    Packing.DOUBLE: WireType.FIXED64,
    Packing.SFIXED64: WireType.FIXED64,
    Packing.FIXED32: WireType.FIXED32,
    Packing.BYTE: WireType.VARINT,
    Packing.TEXT: WireType.LENGTH,
}


def _check_wire_type(layout: Layout, name: str, packing: Packing, wire_type: WireType, size: int) -> None:
    if wire_type not in (WireType.LENGTH, _UNPACKED[packing]):
        _reject(layout, f"{name} must be a packed column, was of wire type {wire_type.value}")
    width = {Packing.DOUBLE: 8, Packing.SFIXED64: 8, Packing.FIXED32: 4}.get(packing, 1)
    if size % width:
        _reject(layout, f"{name} must be a run of {width} bytes a row, was {size} bytes long")


def _read_column(data: memoryview, packing: Packing, spans: list[tuple[int, int]]) -> npt.NDArray[Any]:
    if packing is Packing.TEXT:
        return _read_texts(data, spans)
    if len(spans) == 1:
        start, end = spans[0]
        run = data[start:end]
    else:
        run = memoryview(b"".join(data[start:end] for start, end in spans))
    values: npt.NDArray[Any] = np.frombuffer(run, dtype=packing.value)
    if packing is Packing.BYTE and values.max() > 0x7F:
        # Values that need several bytes come from a newer contract; what does not fit reads as UNSPECIFIED.
        values = np.array([value if value < 0x80 else 0 for value in wire.read_varints(run)], dtype=np.uint8)
    return values


def _read_texts(data: memoryview, spans: list[tuple[int, int]]) -> npt.NDArray[Any]:
    texts = np.empty(len(spans), dtype=np.object_)
    try:
        texts[:] = [str(data[start:end], "utf-8") for start, end in spans]
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"trade_id_text must be UTF-8, was {bytes(error.object)!r}") from error
    return texts


def _check_lengths(layout: Layout, columns: Mapping[str, npt.NDArray[Any]]) -> None:
    rows = len(columns.get(layout.key, ()))
    for name, values in columns.items():
        if len(values) != rows:
            _reject(layout, f"{name} must have {rows} values like {layout.key}, was {len(values)}")


def _reject(layout: Layout, text: str) -> NoReturn:
    raise InvalidArgument(f"{layout.message}: {text}")
