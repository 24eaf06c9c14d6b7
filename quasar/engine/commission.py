"""What a fill costs, exactly: every model becomes a function of integers before a run starts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from quasar import errors
from quasar.engine.grid import decimals_of, scaled

Charge = Callable[[int, int, bool], int]
"""(lots, notional in money units, rested in the book) → commission in money units."""


@dataclass(frozen=True, slots=True)
class MoneyScale:
    """How finely a run counts money of one instrument."""

    money_decimals: int
    """Digits after the point of the account's money units."""
    size_decimals: int
    """Digits after the point of the instrument's lots."""


class Commission(ABC):
    """A commission model. Subclasses say how many decimals they add to a notional and how they charge."""

    @property
    @abstractmethod
    def decimals(self) -> int:
        """Digits after the point that a commission has beyond those of the notional or the size."""

    @abstractmethod
    def bind(self, scale: MoneyScale) -> Charge:
        """Return the model as a function of integers."""


def _rate(value: Decimal, name: str) -> Decimal:
    if not value.is_finite() or abs(value) >= 1:
        raise errors.InvalidArgument(f"{name} must be a ratio between -1 and 1, was {value}")
    return value


def _ratio(rate: Decimal) -> tuple[int, int]:
    digits = decimals_of(rate)
    return scaled(rate, digits), int(10**digits)


@dataclass(frozen=True, slots=True)
class NoCommission(Commission):
    """Nothing."""

    @property
    def decimals(self) -> int:
        """None."""
        return 0

    def bind(self, scale: MoneyScale) -> Charge:
        """Charge 0."""
        del scale
        return lambda _lots, _notional, _maker: 0


@dataclass(frozen=True, slots=True)
class PercentCommission(Commission):
    """A ratio of the notional, unrounded: `Decimal("0.001")` is 0.1 %."""

    rate: Decimal

    def __post_init__(self) -> None:
        """Check the rate."""
        _rate(self.rate, "rate")

    @property
    def decimals(self) -> int:
        """Digits of the rate."""
        return decimals_of(self.rate)

    def bind(self, scale: MoneyScale) -> Charge:
        """Multiply the notional; the money scale holds the digits of the rate, so the division leaves nothing."""
        del scale
        top, bottom = _ratio(self.rate)
        return lambda _lots, notional, _maker: notional * top // bottom


@dataclass(frozen=True, slots=True)
class MakerTakerCommission(Commission):
    """One ratio of the notional for orders that rested, one for those that took; a negative one is a rebate."""

    maker: Decimal
    taker: Decimal

    def __post_init__(self) -> None:
        """Check the rates."""
        _rate(self.maker, "maker")
        _rate(self.taker, "taker")

    @property
    def decimals(self) -> int:
        """Digits of the longer rate."""
        return max(decimals_of(self.maker), decimals_of(self.taker))

    def bind(self, scale: MoneyScale) -> Charge:
        """Choose the rate by the side of the fill."""
        del scale
        maker_top, maker_bottom = _ratio(self.maker)
        taker_top, taker_bottom = _ratio(self.taker)

        def charge(_lots: int, notional: int, maker: bool) -> int:
            return notional * maker_top // maker_bottom if maker else notional * taker_top // taker_bottom

        return charge


@dataclass(frozen=True, slots=True)
class PerShareCommission(Commission):
    """An amount for each unit traded."""

    amount: Decimal

    @property
    def decimals(self) -> int:
        """Digits of the amount."""
        return decimals_of(self.amount)

    def bind(self, scale: MoneyScale) -> Charge:
        """Multiply the lots."""
        each = scaled(self.amount, scale.money_decimals - scale.size_decimals)
        return lambda lots, _notional, _maker: lots * each


@dataclass(frozen=True, slots=True)
class FixedCommission(Commission):
    """An amount for each fill."""

    amount: Decimal

    @property
    def decimals(self) -> int:
        """Digits of the amount."""
        return decimals_of(self.amount)

    def bind(self, scale: MoneyScale) -> Charge:
        """Charge the amount."""
        amount = scaled(self.amount, scale.money_decimals)
        return lambda _lots, _notional, _maker: amount


@dataclass(frozen=True, slots=True)
class BoundedCommission(Commission):
    """Another model, at least `minimum` for each fill and at most `maximum_rate` of its notional (the cap wins)."""

    model: Commission
    minimum: Decimal = Decimal(0)
    maximum_rate: Decimal | None = None

    @property
    def decimals(self) -> int:
        """Digits of whichever has most."""
        cap = 0 if self.maximum_rate is None else decimals_of(self.maximum_rate)
        return max(self.model.decimals, decimals_of(self.minimum), cap)

    def bind(self, scale: MoneyScale) -> Charge:
        """Bound the inner model."""
        inner = self.model.bind(scale)
        least = scaled(self.minimum, scale.money_decimals)
        if self.maximum_rate is None:
            return lambda lots, notional, maker: max(least, inner(lots, notional, maker))
        top, bottom = _ratio(self.maximum_rate)

        def charge(lots: int, notional: int, maker: bool) -> int:
            return min(max(least, inner(lots, notional, maker)), notional * top // bottom)

        return charge
