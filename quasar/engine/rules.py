"""The rules of a simulated market: what a back-test and the paper broker are told."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from decimal import Decimal

from quasar import errors
from quasar.engine.commission import Commission, NoCommission
from quasar.engine.slippage import NoSlippage, Slippage


class FillAt(enum.Enum):
    """When an order that a strategy gives at a bar's close begins to work."""

    NEXT_OPEN = "NEXT_OPEN"
    """From the open of the next bar on."""
    SAME_CLOSE = "SAME_CLOSE"
    """At the close at which it was given, then from the next bar on."""


class ExitsFrom(enum.Enum):
    """From when on the exits of a bracket work."""

    ENTRY_BAR = "ENTRY_BAR"
    """Within the bar in which the entry fills, as far as that bar proves it."""
    NEXT_BAR = "NEXT_BAR"
    """From the bar after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketRules:
    """How orders fill and what they cost."""

    cash: Decimal = Decimal(100_000)
    """What the account starts with."""
    currency: str = "USD"
    """The one currency of the account and of every price."""
    fill_at: FillAt = FillAt.NEXT_OPEN
    exits_from: ExitsFrom = ExitsFrom.ENTRY_BAR
    commission: Commission = field(default_factory=NoCommission)
    slippage: Slippage = field(default_factory=NoSlippage)
    volume_share: Decimal | None = None
    """At most this part of a bar's volume trades, shared by all orders; the rest stays working. None: no limit."""
    allow_short: bool = True
    """Whether a position may fall below 0."""
    margin: Decimal = Decimal(1)
    """Part of a position's notional that equity must cover when it is opened or enlarged: 1 is a cash account, 0.5 a
    leverage of two."""

    def __post_init__(self) -> None:
        """Hold the fields to their ranges.

        Raises:
            InvalidArgument: A field is out of range.
        """
        if not (self.cash.is_finite() and self.cash >= 0):
            raise errors.InvalidArgument(f"cash must be at least 0, was {self.cash}")
        if not 0 < self.margin <= 10:
            raise errors.InvalidArgument(f"margin must be above 0 and at most 10, was {self.margin}")
        if self.volume_share is not None and not 0 < self.volume_share <= 1:
            raise errors.InvalidArgument(f"volume_share must be above 0 and at most 1, was {self.volume_share}")
