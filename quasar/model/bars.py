"""Bars: open, high, low, close and volume of one series over one interval, singly and in columns."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Any

import numpy as np

from quasar.model.columns import (
    MISSING,
    FloatArray,
    Int64Array,
    Selection,
    Uint8Array,
    Uint32Array,
    frozen_array,
    joined,
    same_values,
)
from quasar.model.instants import Instant, TimeRange, from_ns, to_ns
from quasar.model.intervals import Interval


class BarState(IntEnum):
    """How final a bar is; numbered as in the contract."""

    FORMING = 1
    """The interval is not over; values still change."""
    CLOSED = 2
    """The interval is over."""
    REVISED = 3
    """Changed after it had closed, or published after a later bar had."""


class BarOrigin(IntEnum):
    """Where the values of a bar came from; numbered as in the contract."""

    HISTORICAL = 1
    """Fetched as history."""
    LIVE_PROVIDER = 2
    """Pushed by the provider's live feed as a bar."""
    LIVE_TICKS = 3
    """Built from the provider's ticks."""
    REPAIRED = 4
    """Borrowed from another provider's series of the same instrument."""
    IMPORTED = 5
    """Uploaded by a user."""
    RESAMPLED = 6
    """Computed from finer bars."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of one series, keyed by its open time."""

    open_time_ns: int
    """First instant of the bar, nanoseconds UTC; 00:00 UTC of the session's date for daily bars of an exchange."""
    open: float
    """First price."""
    high: float
    """Highest price."""
    low: float
    """Lowest price."""
    close: float
    """Last price."""
    volume: float | None = None
    """Quantity traded, in units of the base asset; None when the source has none."""
    close_time_ns: int | None = None
    """First instant after the bar, nanoseconds UTC."""
    trade_count: int | None = None
    """Number of trades."""
    vwap: float | None = None
    """Volume-weighted average price."""
    quote_volume: float | None = None
    """Amount traded, in units of the quote currency."""
    adjusted_close: float | None = None
    """Close adjusted by the vendor for splits and dividends, as the vendor sent it."""
    dividend: float | None = None
    """Cash dividend a unit whose ex-date falls in the bar, in the quote currency; 0 when the vendor says none."""
    split_factor: float | None = None
    """Split factor effective at the open: 2.0 for two new for one old; 1 when the vendor says none."""
    open_interest: float | None = None
    """Open contracts at the end of the bar."""
    state: BarState = BarState.CLOSED
    """How final the bar is."""

    @classmethod
    def at(
        cls,
        open_time: Instant,
        open: float,  # noqa: A002 - the field's name everywhere
        high: float,
        low: float,
        close: float,
        volume: float | None = None,
    ) -> Bar:
        """Build a closed bar from an aware time.

        Raises:
            InvalidArgument: The time is naive.
        """
        return cls(to_ns(open_time, "open_time"), open, high, low, close, volume)

    @property
    def open_time(self) -> dt.datetime:
        """The open time as an aware UTC datetime."""
        return from_ns(self.open_time_ns)

    @property
    def close_time(self) -> dt.datetime | None:
        """The close time as an aware UTC datetime."""
        return None if self.close_time_ns is None else from_ns(self.close_time_ns)


@dataclass(frozen=True, slots=True, eq=False)
class BarColumns:
    """Bars of one series as read-only columns of one length; the columns of the contract's `BarChunk`.

    Optional columns are None when no row has a value; where only some rows have one, the others hold NaN (float64) or
    -1 (int64). `state` None means that every bar is `CLOSED`.
    """

    open_time_ns: Int64Array
    """int64, nanoseconds UTC."""
    open: FloatArray
    """float64."""
    high: FloatArray
    """float64."""
    low: FloatArray
    """float64."""
    close: FloatArray
    """float64."""
    volume: FloatArray
    """float64, NaN where the source has none."""
    close_time_ns: Int64Array | None = None
    """int64, nanoseconds UTC."""
    trade_count: Int64Array | None = None
    """int64."""
    vwap: FloatArray | None = None
    """float64."""
    quote_volume: FloatArray | None = None
    """float64, in units of the quote currency."""
    adjusted_close: FloatArray | None = None
    """float64, as the vendor sent it."""
    dividend: FloatArray | None = None
    """float64, a unit, in the quote currency."""
    split_factor: FloatArray | None = None
    """float64, new units for one old."""
    open_interest: FloatArray | None = None
    """float64, contracts."""
    state: Uint8Array | None = None
    """uint8, values of `BarState`; 0 reads as CLOSED."""
    origin: Uint8Array | None = None
    """uint8, values of `BarOrigin`; 0 where not known."""
    source_series_id: Uint32Array | None = None
    """uint32, the series that a repaired bar was borrowed from; 0 for bars of this series."""
    known_time_ns: Int64Array | None = None
    """int64, nanoseconds UTC, since when the platform has known this version of the bar."""

    def __post_init__(self) -> None:
        """Make the columns read-only and check that they have one length."""
        rows = len(np.atleast_1d(self.open_time_ns))
        for name, dtype in _DTYPES.items():
            values = getattr(self, name)
            if values is not None:
                object.__setattr__(self, name, frozen_array(values, dtype, name, rows))

    @classmethod
    def empty(cls) -> BarColumns:
        """Return columns without rows."""
        nothing = np.empty(0, dtype=np.float64)
        return cls(np.empty(0, dtype=np.int64), nothing, nothing, nothing, nothing, nothing)

    @classmethod
    def from_bars(cls, bars: Iterable[Bar]) -> BarColumns:
        """Build columns from single bars, in their order."""
        rows = list(bars)
        if not rows:
            return cls.empty()
        columns: dict[str, Any] = {}
        for name in _BAR_FIELDS:
            values = [getattr(bar, name) for bar in rows]
            if name == "volume" or any(value is not None for value in values):
                missing = _MISSING.get(name)
                columns[name] = [missing if value is None else value for value in values]
        if all(bar.state is BarState.CLOSED for bar in rows):
            del columns["state"]
        return cls(**columns)

    @classmethod
    def concatenate(cls, parts: Sequence[BarColumns]) -> BarColumns:
        """Join chunks in the order given; a column that only some chunks have is filled up with missing values."""
        parts = [part for part in parts if len(part)]
        if len(parts) <= 1:
            return parts[0] if parts else cls.empty()
        sizes = [len(part) for part in parts]
        columns: dict[str, Any] = {
            name: joined([getattr(part, name) for part in parts], sizes, _MISSING.get(name)) for name in _DTYPES
        }
        return cls(**columns)

    def __len__(self) -> int:
        """Return the number of bars."""
        return len(self.open_time_ns)

    def __getitem__(self, selection: Selection) -> BarColumns:
        """Return the selected rows: a slice shares memory, a mask or row numbers copy."""
        present: dict[str, Any] = {name: v for name in _DTYPES if (v := getattr(self, name)) is not None}
        return BarColumns(**{name: values[selection] for name, values in present.items()})

    def bar(self, row: int) -> Bar:
        """Return one row as a value; negative rows count from the end."""
        values: dict[str, Any] = {}
        for name in _BAR_FIELDS:
            column = getattr(self, name)
            if column is not None:
                value = column[row].item()
                values[name] = None if name in _OPTIONAL and value_missing(value) else value
        values["state"] = BarState(values.get("state") or BarState.CLOSED)
        return Bar(**values)

    def bars(self) -> Iterator[Bar]:
        """Iterate over the rows as values; for people and small results, since columns are far faster."""
        return (self.bar(row) for row in range(len(self)))

    def equals(self, other: BarColumns) -> bool:
        """Tell whether both hold the same rows in the same order; missing values are equal to each other."""
        return all(same_values(getattr(self, name), getattr(other, name)) for name in _DTYPES)

    @property
    def is_sorted(self) -> bool:
        """Whether open times ascend strictly, so that no bar comes twice."""
        return bool(np.all(self.open_time_ns[1:] > self.open_time_ns[:-1]))

    def sort(self) -> BarColumns:
        """Return the rows by open time; rows of one open time keep their order."""
        return self if self.is_sorted else self[np.argsort(self.open_time_ns, kind="stable")]

    def dedupe(self) -> BarColumns:
        """Return the rows by open time with the last row of each open time only."""
        if self.is_sorted:
            return self
        rows = self.sort()
        return rows[np.append(rows.open_time_ns[1:] != rows.open_time_ns[:-1], True)]

    def within(self, span: TimeRange) -> BarColumns:
        """Return the rows of a sorted chunk whose open time lies in a half-open range, sharing memory."""
        first, last = np.searchsorted(self.open_time_ns, [span.start_ns, span.end_ns])
        return self[int(first) : int(last)]

    def with_close_times(self, interval: Interval) -> BarColumns:
        """Return the same rows with the close times of an interval of time where they have none."""
        computed = interval.closes(self.open_time_ns)
        if self.close_time_ns is not None:
            computed = np.where(self.close_time_ns == MISSING, computed, self.close_time_ns)
        return replace(self, close_time_ns=computed)


_INTEGERS: dict[str, type[np.generic]] = {
    "open_time_ns": np.int64,
    "close_time_ns": np.int64,
    "trade_count": np.int64,
    "state": np.uint8,
    "origin": np.uint8,
    "source_series_id": np.uint32,
    "known_time_ns": np.int64,
}
_DTYPES: dict[str, type[np.generic]] = {
    field.name: _INTEGERS.get(field.name, np.float64) for field in fields(BarColumns)
}
_MISSING: dict[str, Any] = {
    **{name: math.nan for name, dtype in _DTYPES.items() if dtype is np.float64},
    "close_time_ns": MISSING,
    "trade_count": MISSING,
    "known_time_ns": MISSING,
    "state": int(BarState.CLOSED),
    "origin": 0,
    "source_series_id": 0,
}


def value_missing(value: int | float) -> bool:
    """Tell whether a value of an optional column stands for none: -1 among whole numbers, NaN among the others."""
    return value == MISSING if isinstance(value, int) else value != value


_BAR_FIELDS = tuple(field.name for field in fields(Bar))
_OPTIONAL = frozenset(_BAR_FIELDS) - {"open_time_ns", "open", "high", "low", "close", "state"}
