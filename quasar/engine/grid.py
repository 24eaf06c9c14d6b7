"""The grid of an instrument: how its prices and sizes become integers, so that money is exact.

Market data stays IEEE double: a double that stems from a decimal of at most 15 digits is the one nearest to it, so
comparing two such doubles compares the decimals. Prices are therefore *compared* as doubles (the columns are used as
they come, nothing is converted for bars that trade nothing) and *counted* as integers: a price is a number of `10 **
-price_decimals`, a size a number of `10 ** -size_decimals`, and cash a Python integer fine enough for their product
with the commission rate. Integers of any length are exact, and on CPython a multiplication of them costs less than
one of `Decimal`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

import numpy as np

from quasar import errors
from quasar.model.columns import FloatArray

Number = int | float | Decimal | str
"""What authors may pass for a price or a size; a float stands for its shortest decimal form."""

MAX_DECIMALS: Final = 12
_EXACT: Final = 2.0**53


def as_decimal(value: Number, name: str) -> Decimal:
    """Return the number exactly as it is written; a float by its shortest decimal form.

    Raises:
        InvalidArgument: It is no finite number.
    """
    try:
        number = value if isinstance(value, Decimal) else Decimal(repr(value) if isinstance(value, float) else value)
    except (ArithmeticError, TypeError, ValueError):
        raise errors.InvalidArgument(f"{name} must be a number, was {value!r}") from None
    if not number.is_finite():
        raise errors.InvalidArgument(f"{name} must be finite, was {value!r}")
    return number


def decimals_of(number: Decimal) -> int:
    """Return how many digits stand after the point, trailing zeros aside: 2 for 0.0500."""
    exponent = number.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def scaled(number: Decimal, decimals: int) -> int:
    """Return `number * 10 ** decimals` as an integer, rounded half to even where that is not whole."""
    return int(number.scaleb(decimals).to_integral_value(rounding=ROUND_HALF_EVEN))


def exact(count: int, decimals: int) -> Decimal:
    """Return `count / 10 ** decimals` as a decimal without loss, whatever its length."""
    sign = 1 if count < 0 else 0
    return Decimal((sign, tuple(map(int, str(abs(count)))), -decimals))


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the prices and sizes of one instrument lie."""

    price_decimals: int = 2
    """Digits of a price after the point, 0 to 12."""
    size_decimals: int = 0
    """Digits of a size after the point: 0 for shares, 8 for most crypto assets."""
    price_tick: int = 1
    """Smallest step of an order's price, in units of the last digit: 25 with two decimals is a tick of 0.25."""
    size_step: int = 1
    """Smallest step of an order's size, in lots: 5 with one decimal is a step of 0.5."""
    multiplier: Decimal = Decimal(1)
    """Value of one unit per point of price: the contract size of derivatives."""
    price_scale: int = field(init=False, repr=False, compare=False)
    """Units of price in 1."""
    size_scale: int = field(init=False, repr=False, compare=False)
    """Lots in 1."""

    def __post_init__(self) -> None:
        """Hold the fields to their ranges.

        Raises:
            InvalidArgument: A field is out of range.
        """
        for name in ("price_decimals", "size_decimals"):
            if not 0 <= getattr(self, name) <= MAX_DECIMALS:
                raise errors.InvalidArgument(f"{name} must be 0 to {MAX_DECIMALS}, was {getattr(self, name)}")
        object.__setattr__(self, "price_scale", int(10**self.price_decimals))
        object.__setattr__(self, "size_scale", int(10**self.size_decimals))
        for name in ("price_tick", "size_step"):
            if getattr(self, name) < 1:
                raise errors.InvalidArgument(f"{name} must be at least 1, was {getattr(self, name)}")
        if not self.multiplier > 0:
            raise errors.InvalidArgument(f"multiplier must be above 0, was {self.multiplier}")

    def price(self, value: Number, name: str = "price") -> float:
        """Return the price on the grid that is nearest to `value`, as the double of that decimal.

        Raises:
            InvalidArgument: It is no finite number.
        """
        scale, tick = self.price_scale, self.price_tick
        if type(value) is float and tick == 1 and value - value == 0.0:
            return round(value * scale) / scale
        return scaled(as_decimal(value, name) / tick, self.price_decimals) * tick / scale

    def floor(self, value: float) -> float:
        """Return the highest price on the grid that is not above `value`.

        A value within a billionth of a grid price counts as that price, so that 0.98 * 150.0 is 147.00 and not 146.99.
        """
        return self._snapped(value, math.floor)

    def ceil(self, value: float) -> float:
        """Return the lowest price on the grid that is not below `value`, with the tolerance of `floor`."""
        return self._snapped(value, math.ceil)

    def _snapped(self, value: float, toward: Callable[[float], int]) -> float:
        ticks = value * self.price_scale / self.price_tick
        nearest = round(ticks)
        if abs(ticks - nearest) > 1e-9 * max(1.0, abs(ticks)):
            nearest = toward(ticks)
        return nearest * self.price_tick / self.price_scale

    def units(self, price: float) -> int:
        """Return a price as a number of `10 ** -price_decimals`."""
        return round(price * self.price_scale)

    def lots(self, quantity: Number, name: str = "quantity") -> int:
        """Return a size as a number of `10 ** -size_decimals`, rounded toward 0 to the step of sizes.

        Raises:
            InvalidArgument: It is no finite number.
        """
        if type(quantity) is int:
            lots = quantity * self.size_scale
        else:
            lots = int(as_decimal(quantity, name).scaleb(self.size_decimals))
        return lots if self.size_step == 1 else self.stepped(lots)

    def stepped(self, lots: int) -> int:
        """Return the number of lots nearest to one, toward 0, that lies on the step of sizes."""
        return lots - lots % self.size_step if lots >= 0 else lots + -lots % self.size_step

    def size(self, lots: int) -> float:
        """Return a number of lots as a double, for strategies to reckon with."""
        return lots / self.size_scale

    def exact_price(self, price: float) -> Decimal:
        """Return a price as the exact decimal."""
        return exact(round(price * self.price_scale), self.price_decimals)

    def exact_size(self, lots: int) -> Decimal:
        """Return a number of lots as the exact decimal."""
        return exact(lots, self.size_decimals)


def detect_price_decimals(*columns: FloatArray, most: int = 9) -> int:
    """Return the fewest decimals on which every price of the columns lies.

    A double `p` lies on `d` decimals when `round(p * 10**d) / 10**d == p`, which holds for the double of every
    decimal that has them and for no other. Prices with more decimals than a double holds exactly (adjusted prices,
    for example) get the most that it can: they are shown to strategies unchanged and rounded half to even to that
    grid when they trade.

    Args:
        columns: float64 prices, finite.
        most: Never answer more than this.
    """
    largest = max((float(np.max(np.abs(column))) for column in columns if len(column)), default=1.0)
    while most > 0 and largest * 10.0**most >= _EXACT / 256:
        most -= 1
    found = 0
    for column in columns:
        while found < most and not (_lies_on(column[:256], found) and _lies_on(column, found)):
            found += 1
    return found


def _lies_on(prices: FloatArray, decimals: int) -> bool:
    scale = 10.0**decimals
    return bool(np.all(np.rint(prices * scale) / scale == prices))
