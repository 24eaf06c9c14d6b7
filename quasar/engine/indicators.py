"""Indicators: whole columns in a back-test, one value at a time in live trading, the same to the last bit.

Sums are kept as integers on the price grid, so a moving average has no drift and two averages that are equal compare
equal: dividing two integers gives the double nearest to their ratio, whichever way the sum was made. Recurrences
(EMA, RSI, ATR) run through the same statement in both modes.

An indicator's `value` is NaN until it is ready, and comparisons with NaN are false.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from typing import ClassVar, Final

import numpy as np

from quasar import errors
from quasar.engine.grid import Grid
from quasar.engine.series import BarView, column_view
from quasar.model.bars import BarColumns
from quasar.model.columns import FloatArray

NAN: Final = math.nan
_EXACT: Final = 1 << 53


class Indicator(ABC):
    """A value for each bar. Subclass it and write `update`; a whole-column form is an option for speed."""

    sources: ClassVar[tuple[str, ...]] = ("open", "high", "low", "close", "volume")
    """The columns that `update` reads; fewer are faster."""

    def __init__(self, length: int) -> None:
        """Make an indicator that is ready after `length` bars.

        Raises:
            InvalidArgument: The length is below 1.
        """
        if length < 1:
            raise errors.InvalidArgument(f"length must be at least 1, was {length}")
        self.length = length
        """Bars needed before the first value."""
        self.value = NAN
        """The value at the bar at hand; NaN until ready."""

    @property
    def ready(self) -> bool:
        """Whether there is a value."""
        return self.value == self.value

    def bind(self, grid: Grid) -> None:
        """Learn the grid of the instrument before the first bar."""
        del grid

    @abstractmethod
    def update(self, bar: BarView) -> float:
        """Take one bar in and return the value, NaN until ready. The engine keeps it in `value`."""

    def column(self, bars: BarColumns) -> FloatArray:
        """Return the values of all bars as float64; the same as `update` gives bar by bar."""
        view = BarView("")
        columns = [column_view(getattr(bars, name)) for name in self.sources]
        update = self.update
        values = np.empty(len(bars), dtype=np.float64)
        for row, prices in enumerate(zip(*columns, strict=True)):
            for name, price in zip(self.sources, prices, strict=True):
                setattr(view, name, price)
            values[row] = update(view)
        return values


class SMA(Indicator):
    """Simple moving average of closes over `length` bars, exact on the price grid."""

    sources = ("close",)

    def __init__(self, length: int) -> None:
        """Make the average of `length` closes."""
        super().__init__(length)
        self._scale = 1
        self._sum = 0
        self._window: deque[int] = deque(maxlen=length)

    def bind(self, grid: Grid) -> None:
        """Learn the price scale."""
        self._scale = grid.price_scale

    def update(self, bar: BarView) -> float:
        """Add the new close and drop the one that leaves the window."""
        window = self._window
        units = round(bar.close * self._scale)
        if len(window) == self.length:
            self._sum -= window[0]
        window.append(units)
        self._sum += units
        return self._sum / (self.length * self._scale) if len(window) == self.length else NAN

    def column(self, bars: BarColumns) -> FloatArray:
        """Difference the running sum; where int64 wraps in the sum, the difference is right all the same."""
        values = np.full(len(bars), NAN)
        if len(bars) < self.length:
            return values
        units = np.rint(bars.close * self._scale).astype(np.int64)
        if int(np.max(np.abs(units))) * self.length >= _EXACT:
            return super().column(bars)
        running = np.cumsum(units)
        running[self.length :] -= running[: -self.length].copy()
        values[self.length - 1 :] = running[self.length - 1 :] / (self.length * self._scale)
        return values


class StdDev(Indicator):
    """Population standard deviation of closes over `length` bars, from exact sums: sqrt(n * sum(x²) - sum(x)²) / n."""

    sources = ("close",)

    def __init__(self, length: int) -> None:
        """Make the deviation of `length` closes."""
        super().__init__(length)
        self._scale = 1
        self._sum = 0
        self._squares = 0
        self._window: deque[int] = deque()

    def bind(self, grid: Grid) -> None:
        """Learn the price scale."""
        self._scale = grid.price_scale

    def update(self, bar: BarView) -> float:
        """Add the new close and drop the one that leaves the window."""
        window, length = self._window, self.length
        units = round(bar.close * self._scale)
        window.append(units)
        self._sum += units
        self._squares += units * units
        if len(window) > length:
            gone = window.popleft()
            self._sum -= gone
            self._squares -= gone * gone
        if len(window) < length:
            return NAN
        return math.sqrt(length * self._squares - self._sum * self._sum) / (length * self._scale)


class EMA(Indicator):
    """Exponential moving average of closes with weight 2 / (length + 1), begun with the first close."""

    sources = ("close",)

    def __init__(self, length: int) -> None:
        """Make the average with the weight of `length` bars."""
        super().__init__(length)
        self._weight = 2.0 / (length + 1.0)
        self._average = NAN
        self._seen = 0

    def update(self, bar: BarView) -> float:
        """Move toward the new close."""
        self._seen += 1
        close = bar.close
        self._average = close if self._seen == 1 else self._average + self._weight * (close - self._average)
        return self._average if self._seen >= self.length else NAN


class _Extreme(Indicator):
    """The extreme of the last `length` values, by a monotonous queue: each value enters and leaves once."""

    _sign: ClassVar[float]

    def __init__(self, length: int) -> None:
        """Make the extreme of `length` bars."""
        super().__init__(length)
        self._seen = 0
        self._queue: deque[tuple[int, float]] = deque()

    def _take(self, value: float) -> float:
        queue, sign = self._queue, self._sign
        while queue and (queue[-1][1] - value) * sign <= 0:
            queue.pop()
        queue.append((self._seen, value))
        self._seen += 1
        if queue[0][0] <= self._seen - 1 - self.length:
            queue.popleft()
        return queue[0][1] if self._seen >= self.length else NAN


class Highest(_Extreme):
    """Highest high of the last `length` bars, the bar at hand included."""

    sources = ("high",)
    _sign = 1.0

    def update(self, bar: BarView) -> float:
        """Take the high in."""
        return self._take(bar.high)


class Lowest(_Extreme):
    """Lowest low of the last `length` bars, the bar at hand included."""

    sources = ("low",)
    _sign = -1.0

    def update(self, bar: BarView) -> float:
        """Take the low in."""
        return self._take(bar.low)


class ATR(Indicator):
    """Average true range: the mean of the first `length` ranges, then (previous * (n - 1) + range) / n.

    Source: J. Welles Wilder, New Concepts in Technical Trading Systems (1978). The range of the first bar is high -
    low.
    """

    sources = ("high", "low", "close")

    def __init__(self, length: int = 14) -> None:
        """Make the average of `length` ranges."""
        super().__init__(length)
        self._seen = 0
        self._average = 0.0
        self._close = NAN

    def update(self, bar: BarView) -> float:
        """Take the range of one bar in."""
        span = bar.high - bar.low
        if self._seen:
            span = max(span, abs(bar.high - self._close), abs(bar.low - self._close))
        self._close = bar.close
        self._seen += 1
        weight = min(self._seen, self.length)
        self._average += (span - self._average) / weight
        return self._average if self._seen >= self.length else NAN


class RSI(Indicator):
    """Relative strength index of closes by Wilder's smoothing, 0 to 100; ready after `length` changes.

    Source: J. Welles Wilder, New Concepts in Technical Trading Systems (1978). 50 when nothing moved.
    """

    sources = ("close",)

    def __init__(self, length: int = 14) -> None:
        """Make the index of `length` changes."""
        super().__init__(length + 1)
        self._changes = length
        self._seen = 0
        self._gain = self._loss = 0.0
        self._close = NAN

    def update(self, bar: BarView) -> float:
        """Take one change in."""
        change = bar.close - self._close if self._seen else 0.0
        self._close = bar.close
        if self._seen:
            weight = min(self._seen, self._changes)
            self._gain += (max(change, 0.0) - self._gain) / weight
            self._loss += (max(-change, 0.0) - self._loss) / weight
        self._seen += 1
        if self._seen < self.length:
            return NAN
        moved = self._gain + self._loss
        return 100.0 * self._gain / moved if moved else 50.0


class Momentum(Indicator):
    """Change of the close over `length` bars as a ratio: close / close `length` bars ago - 1."""

    sources = ("close",)

    def __init__(self, length: int) -> None:
        """Make the change over `length` bars."""
        super().__init__(length + 1)
        self._window: deque[float] = deque(maxlen=length + 1)

    def update(self, bar: BarView) -> float:
        """Take the close in."""
        self._window.append(bar.close)
        if len(self._window) < self.length or not self._window[0]:
            return NAN
        return bar.close / self._window[0] - 1.0
