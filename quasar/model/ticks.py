"""Ticks: trades and top-of-book quotes of one series, singly and in columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Any

import numpy as np
import numpy.typing as npt

from quasar.model.columns import (
    MISSING,
    BoolArray,
    FloatArray,
    Int64Array,
    Selection,
    Uint8Array,
    frozen_array,
    joined,
    same_values,
)

TextArray = npt.NDArray[np.object_]


class TickKind(IntEnum):
    """What a tick reports; numbered as in the contract."""

    TRADE = 1
    """A trade: price, size, side, trade id."""
    QUOTE = 2
    """A quote or ticker as the venue publishes it: bid and ask."""
    BOOK_TOP = 3
    """The best bid and ask of an order book that the feed maintains."""

    @classmethod
    def in_order(cls, words: Iterable[str]) -> tuple[str, ...]:
        """Return the words that name kinds, each once and in the order of the contract; others are left out."""
        named = set(words)
        return tuple(kind.name for kind in cls if kind.name in named)


class Side(IntEnum):
    """Which side took liquidity in a trade; numbered as in the contract."""

    UNKNOWN = 0
    """The venue does not say."""
    BUY = 1
    """The buyer took the offer."""
    SELL = 2
    """The seller hit the bid."""


class TickFlag(IntFlag):
    """Marks of a tick; numbered as in the contract."""

    NONE = 0
    """No mark."""
    LATE = 1
    """Arrived after its bar was published as closed."""
    REFILLED = 2
    """Fetched from the vendor's history to fill a hole in the feed."""
    SNAPSHOT = 4
    """Part of the state that the venue sends on subscription."""
    EXCLUDED = 8
    """Not to be used for prices of bars, by the venue's own rules."""


@dataclass(frozen=True, slots=True)
class Tick:
    """One trade or quote. Times are nanoseconds UTC; a value that the venue did not send is None."""

    event_time_ns: int
    """When it happened, by the venue's clock."""
    kind: TickKind = TickKind.TRADE
    """What the tick reports."""
    price: float | None = None
    """Price of the trade."""
    size: float | None = None
    """Quantity of the trade, in units of the base asset."""
    side: Side = Side.UNKNOWN
    """Which side took liquidity."""
    bid_price: float | None = None
    """Best bid."""
    bid_size: float | None = None
    """Quantity at the best bid."""
    ask_price: float | None = None
    """Best ask."""
    ask_size: float | None = None
    """Quantity at the best ask."""
    receive_time_ns: int | None = None
    """When the platform received it."""
    publish_time_ns: int | None = None
    """When the platform published it."""
    venue_sequence: int | None = None
    """The venue's sequence number."""
    trade_id: int | None = None
    """The venue's id of the trade, where it is a whole number."""
    trade_id_text: str = ""
    """The venue's id of the trade, where it is not a whole number."""
    flags: TickFlag = TickFlag.NONE
    """Marks."""


@dataclass(frozen=True, slots=True, eq=False)
class TickColumns:
    """Ticks of one series as read-only columns of one length; the columns of the contract's `TickChunk`.

    Optional columns are None when no row has a value; where only some rows have one, the others hold NaN (float64), -1
    (int64), 0 (side, flags) or "" (text). `kind` None means that every tick is a trade.
    """

    event_time_ns: Int64Array
    """int64, nanoseconds UTC, by the venue's clock."""
    price: FloatArray | None = None
    """float64, of trades."""
    size: FloatArray | None = None
    """float64, of trades."""
    side: Uint8Array | None = None
    """uint8, values of `Side`."""
    kind: Uint8Array | None = None
    """uint8, values of `TickKind`."""
    bid_price: FloatArray | None = None
    """float64, of quotes."""
    bid_size: FloatArray | None = None
    """float64, of quotes."""
    ask_price: FloatArray | None = None
    """float64, of quotes."""
    ask_size: FloatArray | None = None
    """float64, of quotes."""
    receive_time_ns: Int64Array | None = None
    """int64, nanoseconds UTC."""
    publish_time_ns: Int64Array | None = None
    """int64, nanoseconds UTC."""
    venue_sequence: Int64Array | None = None
    """int64."""
    trade_id: Int64Array | None = None
    """int64."""
    trade_id_text: TextArray | None = None
    """str objects."""
    flags: Uint8Array | None = None
    """uint8, sums of `TickFlag` values."""

    def __post_init__(self) -> None:
        """Make the columns read-only and check that they have one length."""
        rows = len(np.atleast_1d(self.event_time_ns))
        for name, (dtype, _) in _COLUMNS.items():
            values = getattr(self, name)
            if values is not None:
                object.__setattr__(self, name, frozen_array(values, dtype, name, rows))

    @classmethod
    def empty(cls) -> TickColumns:
        """Return columns without rows."""
        return cls(np.empty(0, dtype=np.int64))

    @classmethod
    def trusted(cls, columns: Mapping[str, npt.NDArray[Any]]) -> TickColumns:
        """Take columns that are known to be as they must be: read-only, of their types, of one length.

        For decoders, which have looked at all of that: looking again costs more than decoding a small chunk.
        """
        made = object.__new__(cls)
        for name, write in _WRITERS:
            write(made, columns.get(name))
        return made

    @classmethod
    def maker(cls, names: Sequence[str]) -> Callable[[Iterable[npt.NDArray[Any]]], TickColumns]:
        """Return what makes `trusted` columns of these names from their values, in the same order.

        For decoders of many chunks that have the same columns: which ones are missing is looked up once.
        """
        writers = dict(_WRITERS)
        present = [writers.pop(name) for name in names]
        absent = list(writers.values())

        def make(columns: Iterable[npt.NDArray[Any]]) -> TickColumns:
            made = object.__new__(cls)
            for write, values in zip(present, columns, strict=True):
                write(made, values)
            for write in absent:
                write(made, None)
            return made

        return make

    @classmethod
    def from_ticks(cls, ticks: Iterable[Tick]) -> TickColumns:
        """Build columns from single ticks, in their order."""
        rows = list(ticks)
        columns: dict[str, Any] = {}
        for name, (_, missing) in _COLUMNS.items():
            values = [getattr(tick, name) for tick in rows]
            if name == "event_time_ns" or any(value is not None and value != missing for value in values):
                columns[name] = [missing if value is None else value for value in values]
        return cls(**columns)

    @classmethod
    def concatenate(cls, parts: Sequence[TickColumns]) -> TickColumns:
        """Join chunks in the order given; a column that only some chunks have is filled up with missing values."""
        parts = [part for part in parts if len(part)]
        if len(parts) <= 1:
            return parts[0] if parts else cls.empty()
        sizes = [len(part) for part in parts]
        columns: dict[str, Any] = {
            name: joined([getattr(part, name) for part in parts], sizes, missing)
            for name, (_, missing) in _COLUMNS.items()
        }
        return cls(**columns)

    def __len__(self) -> int:
        """Return the number of ticks."""
        return len(self.event_time_ns)

    def __getitem__(self, selection: Selection) -> TickColumns:
        """Return the selected rows: a slice shares memory, a mask or row numbers copy."""
        present: dict[str, Any] = {name: v for name in _COLUMNS if (v := getattr(self, name)) is not None}
        return TickColumns(**{name: values[selection] for name, values in present.items()})

    def tick(self, row: int) -> Tick:
        """Return one row as a value; negative rows count from the end."""
        values: dict[str, Any] = {}
        for name, (_, missing) in _COLUMNS.items():
            column = getattr(self, name)
            if column is None:
                continue
            value = column[row].item() if isinstance(column[row], np.generic) else column[row]
            if value != missing and value == value:  # NaN, the missing number, differs from itself
                values[name] = value
        values["kind"] = TickKind(values.get("kind", TickKind.TRADE))
        values["side"] = Side(values.get("side", Side.UNKNOWN))
        values["flags"] = TickFlag(values.get("flags", 0))
        return Tick(**values)

    def ticks(self) -> Iterator[Tick]:
        """Iterate over the rows as values; for people and small results, since columns are far faster."""
        return (self.tick(row) for row in range(len(self)))

    @property
    def is_trade(self) -> BoolArray:
        """Mask of the rows that are trades."""
        if self.kind is None:
            return np.ones(len(self), dtype=np.bool_)
        return np.equal(self.kind, TickKind.TRADE)

    def trades(self) -> TickColumns:
        """Return the trades only."""
        return self if self.kind is None else self[self.is_trade]

    def equals(self, other: TickColumns) -> bool:
        """Tell whether both hold the same rows in the same order; missing values are equal to each other."""
        return all(same_values(getattr(self, name), getattr(other, name)) for name in _COLUMNS)


_COLUMNS: dict[str, tuple[type[np.generic], Any]] = {
    "event_time_ns": (np.int64, MISSING),
    **dict.fromkeys(("price", "size", "bid_price", "bid_size", "ask_price", "ask_size"), (np.float64, math.nan)),
    "side": (np.uint8, int(Side.UNKNOWN)),
    "kind": (np.uint8, int(TickKind.TRADE)),
    "receive_time_ns": (np.int64, MISSING),
    "publish_time_ns": (np.int64, MISSING),
    "venue_sequence": (np.int64, MISSING),
    "trade_id": (np.int64, MISSING),
    "trade_id_text": (np.object_, ""),
    "flags": (np.uint8, 0),
}
"""Each column's type and the value that stands for a missing one."""

_WRITERS = [(name, TickColumns.__dict__[name].__set__) for name in _COLUMNS]
"""Writes each attribute of a new, frozen object."""
