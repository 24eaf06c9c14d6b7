"""One paper account in memory: the engine's paper broker under the ids of the platform's orders.

The database is the truth: an account is made from the rows, after a restart and whenever a new instrument comes in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType

from quasar.engine.grid import Grid, scaled
from quasar.engine.live import LiveBar, LiveTick, OrderName
from quasar.engine.paper import PaperBroker, PaperEvent
from quasar.engine.rules import MarketRules
from quasar.errors import NotFound, QuasarError
from quasar.model.instants import to_ns
from quasar.model.order_states import OrderStatus
from quasar.model.orders import (
    TRIGGER_TYPES,
    CancelIntent,
    Contingency,
    OrderChange,
    OrderIntent,
    OrderSpec,
    OrderTarget,
    OrderType,
    PlaceIntent,
    ReplaceIntent,
)
from strategy_engine.trading.orders import (
    ZERO,
    FillOutcome,
    Held,
    Outcome,
    StatusOutcome,
    StoredOrder,
    TrailOutcome,
)


class PaperAccount:
    """The orders, positions and cash of one account, worked on live prices."""

    def __init__(self, account_id: str, rules: MarketRules, grids: Mapping[str, Grid]) -> None:
        """Open an account without orders; `rules` says what it has and what trading costs."""
        self.account_id = account_id
        self.grids = dict(grids)
        self._broker = PaperBroker(rules, grids, account_id)
        self._number = 0
        self._names: dict[OrderName, str] = {}
        self._targets: dict[str, OrderTarget] = {}
        self._filled: dict[str, Decimal] = {}

    def mark(self, symbol: str, price: float) -> None:
        """Value a symbol at its newest price, before the first bar or tick of it comes."""
        self._broker.ledger.books[symbol].mark = price

    def restore(
        self,
        held: Sequence[Held],
        orders: Sequence[StoredOrder],
        cash: Decimal,
        entries: Mapping[str, StoredOrder] = MappingProxyType({}),
    ) -> None:
        """Take over cash, positions and open orders; nothing is told, for all of it is known.

        Args:
            held: What is held.
            orders: Those that work.
            cash: What is there.
            entries: By id, the orders whose exits are among `orders`, also those that have ended themselves.
        """
        ledger = self._broker.ledger
        ledger.cash = scaled(cash, ledger.money_decimals)
        quantities: dict[str, tuple[Decimal, Decimal]] = {}
        for each in held:
            quantity, worth = quantities.get(each.symbol, (ZERO, ZERO))
            price = each.average_price or ZERO
            quantities[each.symbol] = (quantity + each.quantity, worth + each.quantity * price)
        for symbol, (quantity, worth) in quantities.items():
            if quantity:
                book = ledger.books[symbol]
                book.holding.add(scaled(quantity, book.grid.size_decimals), float(worth / quantity), book.size_scale)
                ledger.held[book.index] = book
        children = {each.client_order_id: each for each in orders if each.parent_client_order_id}
        open_parents = {each.client_order_id for each in orders if not each.parent_client_order_id}
        for order in orders:
            child = children.get(order.client_order_id)
            if child is None:
                exits = [one for one in children.values() if one.parent_client_order_id == order.client_order_id]
                self._readmit(order, exits)
                for one in exits:
                    self._resume(one, order)
            elif child.parent_client_order_id not in open_parents and child.status is not OrderStatus.HELD:
                self._readmit(_alone(child, entries.get(child.parent_client_order_id)), ())

    def _readmit(self, order: StoredOrder, exits: Sequence[StoredOrder]) -> None:
        if order.remaining > 0 or order.spec.notional is not None:
            self._filled[order.client_order_id] = order.filled_quantity
            quantity = order.remaining if order.spec.quantity is not None else None
            spec = dataclasses.replace(_triggered(order), quantity=quantity)
            self.place(dataclasses.replace(order, spec=spec), exits)

    def _resume(self, child: StoredOrder, entry: StoredOrder) -> None:
        """Let an exit of what is filled of an entry work on beside the rest of it."""
        target = self._targets.get(child.client_order_id)
        if child.status is OrderStatus.HELD or child.remaining <= 0 or target is None:
            return
        self._filled[child.client_order_id] = child.filled_quantity
        spec = dataclasses.replace(child.spec, trailing_offset=_distance(child, entry))
        try:
            self._broker.resume_exit(target, child.remaining, spec)
        except NotFound:
            # The rest of the entry is refused by now; what is filled is guarded all the same.
            self._readmit(_alone(child, entry), ())

    def place(self, order: StoredOrder, exits: Sequence[StoredOrder]) -> list[Outcome]:
        """Work an order, with the exits of its bracket; what the broker refuses is told as REJECTED.

        It works from the time at which it was decided: of a strategy the time of what it had seen.
        """
        time_ns = to_ns(order.decide_time or order.create_time)
        self._number += 1
        name = (self._number, 0)
        self._names[name] = order.client_order_id
        self._targets[order.client_order_id] = OrderTarget(self._number)
        for child in exits:
            self._names[self._number, child.leg] = child.client_order_id
            self._targets[child.client_order_id] = OrderTarget(self._number, child.leg)
        intent = OrderIntent(intent_number=self._number, decide_time_ns=time_ns, action=PlaceIntent(order.spec))
        try:
            return self._told(self._broker.handle(intent))
        except QuasarError as error:
            refused = [order.client_order_id, *(child.client_order_id for child in exits)]
            return [
                StatusOutcome(client_order_id=each, status=OrderStatus.REJECTED, text=error.message) for each in refused
            ]

    def cancel(self, client_order_id: str, time_ns: int) -> list[Outcome]:
        """Cancel an order; one that is held with its entry, or not here any more, ends as CANCELLED."""
        target = self._targets.get(client_order_id)
        gone = StatusOutcome(client_order_id=client_order_id, status=OrderStatus.CANCELLED)
        if target is None:
            return [gone]
        self._number += 1
        intent = OrderIntent(intent_number=self._number, decide_time_ns=time_ns, action=CancelIntent(target))
        try:
            outcomes = self._told(self._broker.handle(intent))
        except QuasarError:
            return [gone]
        return outcomes or [gone]

    def replace(self, client_order_id: str, change: OrderChange, time_ns: int) -> list[Outcome]:
        """Change the terms of an order that works.

        Raises:
            InvalidArgument: The order has no such price.
            NotFound: The order does not work any more.
        """
        target = self._targets.get(client_order_id)
        if target is None:
            raise NotFound(f"order {client_order_id} must work, was not found.")
        if change.quantity is not None:
            # What was filled before a restart is not part of the order here.
            change = dataclasses.replace(change, quantity=change.quantity - self._filled.get(client_order_id, ZERO))
        self._number += 1
        action = ReplaceIntent(target, change)
        intent = OrderIntent(intent_number=self._number, decide_time_ns=time_ns, action=action)
        return [
            dataclasses.replace(each, expire_time_ns=change.expire_time_ns)
            if isinstance(each, StatusOutcome) and each.client_order_id == client_order_id
            else each
            for each in self._told(self._broker.handle(intent))
        ]

    def pay(self, amount: Decimal) -> None:
        """Add to the cash; a negative amount takes from it."""
        ledger = self._broker.ledger
        ledger.cash += scaled(amount, ledger.money_decimals)

    def on_bars(self, bars: Sequence[LiveBar]) -> list[Outcome]:
        """Work the orders on bars that closed at one instant."""
        return self._told(self._broker.on_bars(bars))

    def on_tick(self, tick: LiveTick) -> list[Outcome]:
        """Work the orders of a symbol on one tick."""
        return self._told(self._broker.on_tick(tick))

    def trailed(self) -> list[Outcome]:
        """Return how far triggers of trailing stops have come since the last call."""
        return [
            TrailOutcome(client_order_id=client_order_id, trigger_price=price)
            for name, price in self._broker.moved_triggers().items()
            if (client_order_id := self._names.get(name))
        ]

    def _told(self, events: Sequence[PaperEvent]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for event in events:
            if isinstance(event, tuple):
                name, fill = event
                if client_order_id := self._names.get(name):
                    own = dataclasses.replace(fill, client_order_id=client_order_id)
                    multiplier = self.grids[fill.symbol].multiplier
                    outcomes.append(FillOutcome(client_order_id=client_order_id, fill=own, multiplier=multiplier))
            elif client_order_id := self._names.get((event.intent_number, event.leg)):
                before = self._filled.get(client_order_id, ZERO)
                quantity = None if event.quantity is None or not event.quantity else event.quantity + before
                outcomes.append(
                    StatusOutcome(
                        client_order_id=client_order_id,
                        status=event.status,
                        text=event.text,
                        quantity=quantity,
                        limit_price=event.limit_price,
                        trigger_price=event.trigger_price,
                    )
                )
        return outcomes


def _triggered(order: StoredOrder) -> OrderSpec:
    """Return the terms by which an order works on: one that was triggered before a restart needs no second trigger."""
    spec = order.spec
    waits = spec.type in TRIGGER_TYPES or spec.type is OrderType.TRAILING_STOP
    if not waits or not (order.status is OrderStatus.TRIGGERED or order.filled_quantity):
        return spec
    kind = OrderType.LIMIT if spec.limit_price is not None else OrderType.MARKET
    return dataclasses.replace(spec, type=kind, trigger_price=None, trailing_offset=None, trailing_ratio=None)


def _alone(child: StoredOrder, entry: StoredOrder | None) -> StoredOrder:
    """Return an exit whose entry is filled as an order of its own, still linked with the other exit."""
    spec = dataclasses.replace(
        child.spec,
        trailing_offset=_distance(child, entry),
        reduce_only=True,
        bracket=None,
        group=child.parent_client_order_id,
        group_contingency=Contingency.OUO,
    )
    return dataclasses.replace(child, spec=spec)


def _distance(child: StoredOrder, entry: StoredOrder | None) -> Decimal | None:
    """Return how far behind the price an exit follows: an amount, also where it was given as a ratio of the entry."""
    bracket = entry.spec.bracket if entry is not None else None
    if child.spec.type is not OrderType.TRAILING_STOP or entry is None or bracket is None or bracket.stop_loss is None:
        return child.spec.trailing_offset
    leg = bracket.stop_loss
    if leg.offset_ratio is None or entry.average_fill_price is None:
        return leg.offset
    return leg.offset_ratio * entry.average_fill_price
