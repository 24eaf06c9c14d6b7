"""One series of bars as the engine reads it, and the bar that strategies see."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from quasar import errors
from quasar.engine.grid import Grid, detect_price_decimals
from quasar.model.bars import Bar, BarColumns
from quasar.model.columns import Int64Array
from quasar.model.instants import MISSING_NS, from_ns
from quasar.model.intervals import Interval


@dataclass(frozen=True, eq=False)
class Series:
    """The bars of one symbol at one interval, checked: sorted, finite, low <= open, close <= high."""

    symbol: str
    """The name that strategies use in orders."""
    bars: BarColumns
    """Sorted by open time, without duplicates."""
    interval: str = ""
    """Canonical interval ("1min", "1d"); empty: as long as the bars stand apart."""
    instrument_grid: Grid | None = None
    """Where prices and sizes lie; None: found from the prices, whole units."""

    def __post_init__(self) -> None:
        """Check the columns.

        Raises:
            InvalidArgument: A rule is broken; the message names the series, the column and the row.
        """
        bars = self.bars
        if not self.symbol:
            raise errors.InvalidArgument("symbol must be set, was empty")
        if not bars.is_sorted:
            raise errors.InvalidArgument(
                f"bars of {self.symbol} must ascend strictly by open time; sort and dedupe them"
            )
        for name in ("open", "high", "low", "close"):
            column = getattr(bars, name)
            self._need(np.isfinite(column), f"{name} must be finite")
            self._need((column >= bars.low) & (column <= bars.high), f"{name} must lie between low and high")

    def _need(self, holds: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], rule: str) -> None:
        if not holds.all():
            row = int(np.argmin(holds))
            raise errors.InvalidArgument(f"bars of {self.symbol}: {rule}, was {self.bars.bar(row)} in row {row}")

    def __len__(self) -> int:
        """Return the number of bars."""
        return len(self.bars)

    @cached_property
    def grid(self) -> Grid:
        """Where prices and sizes lie."""
        if self.instrument_grid is not None:
            return self.instrument_grid
        bars = self.bars
        return Grid(detect_price_decimals(bars.close, bars.open, bars.high, bars.low))

    @cached_property
    def close_time_ns(self) -> Int64Array:
        """When each bar is known: int64 ns UTC; by the interval, else as it says, else one step after its open."""
        bars = self.bars
        if self.interval and (interval := Interval.parse(self.interval)).is_time:
            return np.asarray(bars.with_close_times(interval).close_time_ns)
        computed = bars.open_time_ns + self.step_ns
        if bars.close_time_ns is None:
            return computed
        return np.where(bars.close_time_ns == MISSING_NS, computed, bars.close_time_ns)

    @cached_property
    def step_ns(self) -> int:
        """Smallest distance of two open times, nanoseconds; 1 for a single bar."""
        return int(np.min(np.diff(self.bars.open_time_ns))) if len(self) > 1 else 1


def column_view(column: npt.NDArray[Any]) -> memoryview[Any]:
    """Return a column for reading value by value: a memoryview gives plain numbers, without a copy of the column."""
    # Columns that came over a wire may lie at any address; a buffer that is not aligned cannot be read value by value.
    return memoryview(np.require(column, requirements=("C", "A")))  # type: ignore[arg-type]  # the stubs of numpy for 3.11 hide its buffer


class BarView:
    """The bar that hooks receive. The engine refills one object per series: keep `bar.copy()`, never the view.

    Fields are plain attributes, because a million of them are read in a second.
    """

    __slots__ = (
        "close",
        "close_time_ns",
        "high",
        "index",
        "interval",
        "low",
        "open",
        "open_time_ns",
        "symbol",
        "volume",
    )

    index: int
    """Position in its series, from 0."""
    open_time_ns: int
    """First instant, nanoseconds UTC."""
    close_time_ns: int
    """When it was known, nanoseconds UTC."""
    open: float
    high: float
    low: float
    close: float
    volume: float
    """NaN where the source has none."""

    def __init__(self, symbol: str, interval: str = "") -> None:
        """Make the view of one series, before its first bar."""
        self.symbol = symbol
        self.interval = interval
        self.index = -1
        self.open_time_ns = self.close_time_ns = 0
        self.open = self.high = self.low = self.close = self.volume = float("nan")

    @property
    def time(self) -> dt.datetime:
        """When the bar was known, as an aware UTC datetime."""
        return from_ns(self.close_time_ns)

    def copy(self) -> Bar:
        """Return the bar as a value of its own."""
        volume = self.volume if self.volume == self.volume else None
        return Bar(self.open_time_ns, self.open, self.high, self.low, self.close, volume, self.close_time_ns)

    def __repr__(self) -> str:
        """Show the series, the time and the prices."""
        prices = f"open={self.open} high={self.high} low={self.low} close={self.close} volume={self.volume}"
        return f"<{self.symbol} {self.interval} bar {self.index} of {from_ns(self.open_time_ns)}: {prices}>"


class TickView:
    """The tick that hooks receive; one object per symbol, refilled. A field that the tick does not carry is NaN."""

    __slots__ = ("ask", "bid", "price", "size", "symbol", "time_ns")

    def __init__(self, symbol: str) -> None:
        """Make the view of one symbol, before its first tick."""
        self.symbol = symbol
        self.time_ns = 0
        self.price = self.size = self.bid = self.ask = float("nan")

    def __repr__(self) -> str:
        """Show the symbol, the time and the prices."""
        fields = f"price={self.price} size={self.size} bid={self.bid} ask={self.ask}"
        return f"<{self.symbol} tick of {from_ns(self.time_ns)}: {fields}>"
