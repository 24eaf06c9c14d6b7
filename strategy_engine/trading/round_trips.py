"""Round trips out of fills: entries and exits matched first in, first out. Pure."""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType

from quasar.model.instants import from_ns
from quasar.model.orders import Fill, OrderSide
from strategy_engine.trading.orders import ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTrip:
    """An entry and its exit; an exit that closes two entries makes two of them."""

    number: int
    """Counts from 1 in the order of the entries."""
    entry: Fill
    exit: Fill | None
    """None: it is open."""
    quantity: Decimal
    """Above 0."""

    @property
    def long(self) -> bool:
        """Bought first."""
        return self.entry.side is OrderSide.BUY

    mark: Decimal | None = None
    """What an open one is valued at; None: not known."""
    multiplier: Decimal = Decimal(1)
    """Value of one unit per point of price."""

    @property
    def gross_profit(self) -> Decimal:
        """Profit before commissions; of an open one at its mark, 0 without one."""
        price = self.mark if self.exit is None else self.exit.price
        if price is None:
            return ZERO
        gain = (price - self.entry.price) * self.quantity * self.multiplier
        return gain if self.long else -gain

    @property
    def commission(self) -> Decimal:
        """Its share of the commissions of both fills."""
        fills = [each for each in (self.entry, self.exit) if each is not None]
        return sum((each.commission * self.quantity / each.quantity for each in fills), ZERO)

    @property
    def net_profit(self) -> Decimal:
        """Profit with commissions deducted."""
        return self.gross_profit - self.commission

    @property
    def return_ratio(self) -> float:
        """Net profit as a ratio of what was entered."""
        entered = self.quantity * self.entry.price * self.multiplier
        return float(self.net_profit / entered) if entered else 0.0

    @property
    def entry_time(self) -> dt.datetime:
        """When it was entered."""
        return from_ns(self.entry.fill_time_ns)


@dataclass(slots=True)
class _Lot:
    order: int
    fill: Fill
    left: Decimal


def round_trips(fills: Iterable[Fill], multipliers: Mapping[str, Decimal] = MappingProxyType({})) -> list[RoundTrip]:
    """Return the round trips of fills, oldest entry first.

    Args:
        fills: In the order they happened. What closes a position that was held before the first of them makes no
            round trip, for its entry is not among them.
        multipliers: What one unit of a symbol is worth per point of price, where that is not 1.
    """
    lots: dict[str, deque[_Lot]] = {}
    found: list[tuple[int, Fill, Fill | None, Decimal]] = []
    for order, fill in enumerate(fills):
        own = lots.setdefault(fill.symbol, deque())
        left = fill.quantity
        while left and own and own[0].fill.side is not fill.side:
            closed = min(left, own[0].left)
            found.append((own[0].order, own[0].fill, fill, closed))
            own[0].left -= closed
            left -= closed
            if not own[0].left:
                own.popleft()
        opened = min(left, _held_after(fill, left))
        if opened:
            own.append(_Lot(order, fill, opened))
    found += [(lot.order, lot.fill, None, lot.left) for own in lots.values() for lot in own]
    # Stable: the exits of one entry stay in the order in which they came.
    ordered = sorted(found, key=lambda each: each[0])
    return [
        RoundTrip(
            number=number,
            entry=entry,
            exit=left_by,
            quantity=quantity,
            multiplier=multipliers.get(entry.symbol, Decimal(1)),
        )
        for number, (_, entry, left_by, quantity) in enumerate(ordered, 1)
    ]


def _held_after(fill: Fill, otherwise: Decimal) -> Decimal:
    """Return how much of the fill's own side is held after it: of a fill that only closed, nothing."""
    if fill.position_after is None:
        return otherwise
    return max(ZERO, fill.position_after * fill.side.sign)
