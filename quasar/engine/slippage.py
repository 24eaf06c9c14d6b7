"""How much worse than the bar's price an order fills that takes liquidity: at market, stopped or touched.

Limit orders never slip: they fill at their limit or better.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from quasar import errors
from quasar.engine.grid import decimals_of, scaled

Slip = Callable[[int, int, int, float], int]
"""(sign of the side, price in fine units, lots, volume of the bar in lots) → price in fine units."""

_IMPACT_DECIMALS: Final = 4


class Slippage(ABC):
    """A slippage model. Fine units are the instrument's price units with `decimals` digits more."""

    @property
    @abstractmethod
    def decimals(self) -> int:
        """Digits after the point that a slipped price has beyond the instrument's own."""

    @abstractmethod
    def bind(self, tick: int) -> Slip | None:
        """Return the model as a function of integers; None: prices stay.

        Args:
            tick: The instrument's smallest price step, in fine units.
        """


@dataclass(frozen=True, slots=True)
class NoSlippage(Slippage):
    """Prices stay."""

    @property
    def decimals(self) -> int:
        """None."""
        return 0

    def bind(self, tick: int) -> Slip | None:
        """Leave prices alone."""
        del tick
        return None


@dataclass(frozen=True, slots=True)
class ProportionalSlippage(Slippage):
    """price * (1 + rate) for buys and price * (1 - rate) for sells, unrounded."""

    rate: Decimal

    def __post_init__(self) -> None:
        """Check the rate."""
        if not 0 <= self.rate < 1:
            raise errors.InvalidArgument(f"rate must be at least 0 and below 1, was {self.rate}")

    @property
    def decimals(self) -> int:
        """Digits of the rate."""
        return decimals_of(self.rate)

    def bind(self, tick: int) -> Slip | None:
        """Multiply; fine units hold the digits of the rate, so the division leaves nothing."""
        del tick
        digits = self.decimals
        top, bottom = scaled(self.rate, digits), int(10**digits)
        return lambda sign, price, _lots, _volume: price + sign * (price * top // bottom)


@dataclass(frozen=True, slots=True)
class TickSlippage(Slippage):
    """A fixed number of the instrument's ticks."""

    ticks: int

    def __post_init__(self) -> None:
        """Check the number."""
        if self.ticks < 0:
            raise errors.InvalidArgument(f"ticks must be at least 0, was {self.ticks}")

    @property
    def decimals(self) -> int:
        """None: it stays on the instrument's grid."""
        return 0

    def bind(self, tick: int) -> Slip | None:
        """Add or take the ticks."""
        step = self.ticks * tick
        return lambda sign, price, _lots, _volume: price + sign * step


@dataclass(frozen=True, slots=True)
class VolumeShareSlippage(Slippage):
    """price * (1 ± impact * share²), where share is the fill's part of the bar's volume.

    Source: the volume-share model of zipline. Prices are rounded half to even to four digits beyond the instrument's.
    """

    impact: Decimal = Decimal("0.1")

    @property
    def decimals(self) -> int:
        """Four."""
        return _IMPACT_DECIMALS

    def bind(self, tick: int) -> Slip | None:
        """Compute the share; a bar without volume counts as one that the fill takes alone."""
        del tick
        impact = float(self.impact)

        def slip(sign: int, price: int, lots: int, volume: float) -> int:
            share = min(1.0, lots / volume) if volume > 0 else 1.0
            return price + sign * round(price * impact * share * share)

        return slip
