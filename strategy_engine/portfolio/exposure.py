"""What is held by group: long, short, and with the open orders. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from quasar.model.order_states import OrderStatus
from strategy_engine.trading.orders import ZERO, Held, StoredOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Market values of one group, in one currency."""

    key: str
    long: Decimal = ZERO
    short: Decimal = ZERO
    """At least 0."""
    waiting: Decimal = ZERO
    """What open orders would add if they filled at their prices, signed."""
    positions: int = 0

    @property
    def gross(self) -> Decimal:
        """Long and short together."""
        return self.long + self.short

    @property
    def net(self) -> Decimal:
        """Long without short."""
        return self.long - self.short


def exposures(
    held: Sequence[Held],
    orders: Sequence[StoredOrder],
    key: Callable[[Held | StoredOrder], str],
    multiplier: Callable[[str], Decimal],
) -> list[Exposure]:
    """Return the exposure of each group, greatest gross exposure first.

    Args:
        held: Positions, valued.
        orders: Open orders; exits that are held with their entry count for nothing.
        key: Says which group a position or an order belongs to.
        multiplier: Says what one unit of a symbol is worth per point of price.
    """
    working = [each for each in orders if each.status is not OrderStatus.HELD]
    names = sorted({key(each) for each in held} | {key(each) for each in working})
    found = [
        exposure(
            name,
            [each for each in held if key(each) == name],
            [each for each in working if key(each) == name],
            multiplier,
        )
        for name in names
    ]
    return sorted(found, key=lambda each: -each.gross)


def exposure(
    key: str, held: Sequence[Held], orders: Sequence[StoredOrder], multiplier: Callable[[str], Decimal]
) -> Exposure:
    """Return the exposure of positions and working orders together."""
    values = [each.market_value for each in held]
    working = [each for each in orders if each.status is not OrderStatus.HELD]
    return Exposure(
        key=key,
        long=sum((value for value in values if value > 0), ZERO),
        short=-sum((value for value in values if value < 0), ZERO),
        waiting=sum((_signed_value(each) * multiplier(each.spec.symbol) for each in working), ZERO),
        positions=len({each.symbol for each in held if each.quantity}),
    )


def _signed_value(order: StoredOrder) -> Decimal:
    price = order.spec.limit_price if order.spec.limit_price is not None else order.reference_price
    return order.spec.side.sign * order.remaining * (price or ZERO)
