"""The paper broker: takes order intents and fills them on live bars or ticks by the rules of the back-test."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from quasar import errors
from quasar.engine.book import Book
from quasar.engine.grid import Grid, scaled
from quasar.engine.ledger import FillRow, Ledger
from quasar.engine.live import LiveBar, LiveTick, OrderName, OrderUpdate
from quasar.engine.result import exact_fill
from quasar.engine.rules import MarketRules
from quasar.engine.simulation import Simulation
from quasar.engine.terms import OrderTerms, start_trailing
from quasar.engine.working import WorkingOrder
from quasar.model.bars import BarColumns
from quasar.model.orders import (
    AccountBalance,
    AccountState,
    BracketLeg,
    CancelAllIntent,
    CancelIntent,
    Fill,
    OrderIntent,
    OrderSpec,
    OrderTarget,
    OrderType,
    PlaceIntent,
    Position,
    ReplaceIntent,
    TimeInForce,
)

PaperEvent = tuple[OrderName, Fill] | OrderUpdate
"""A fill with the order's intent number and leg, or a new status of an order."""


class PaperBroker:
    """One account in a simulated market that follows a live one. Pure: it knows no time but that of its events.

    Bars and ticks may both be fed; an order is worked on whichever comes. On a tick an order sees one price: the ask
    for a buy and the bid for a sell where the tick has them, else its trade price.
    """

    def __init__(self, rules: MarketRules, grids: Mapping[str, Grid], account_id: str = "paper") -> None:
        """Open the account.

        Args:
            rules: Starting cash, costs and fill conventions; NEXT_OPEN is what a live market allows.
            grids: Where prices and sizes of each symbol lie.
            account_id: The account's name.
        """
        self.account_id = account_id
        self.ledger = Ledger(rules, grids.items())
        self._market = Simulation(rules, self.ledger, _no_history)
        # An order may come between two ticks of a bar that is fed later: it is not worked on what was before it.
        self._market.mixed = True
        self._market.on_fill = self._note_fill
        self._market.on_order = self._note_order
        self._orders: dict[OrderName, WorkingOrder] = {}
        self._trailing: dict[OrderName, float | None] = {}
        """Open trailing stops, each with the trigger that was told last."""
        self._events: list[PaperEvent] = []
        self._rules = rules

    def _note_fill(self, order: WorkingOrder, row: FillRow) -> None:
        number = str(len(self.ledger.fills))
        position = order.book.holding.lots
        fill = exact_fill(self.ledger, order.book, row, number, position, self._rules.currency, order.tag)
        self._events.append(((order.number, order.leg), fill))

    def _note_order(self, order: WorkingOrder) -> None:
        grid = order.book.grid
        self._orders[order.number, order.leg] = order
        if order.type is OrderType.TRAILING_STOP:
            self._trailing[order.number, order.leg] = order.trigger
        self._events.append(
            OrderUpdate(
                intent_number=order.number,
                leg=order.leg,
                status=order.status,
                text=order.text,
                quantity=grid.exact_size(order.lots),
                limit_price=None if order.limit is None else grid.exact_price(order.limit),
                trigger_price=None if order.trigger is None else grid.exact_price(order.trigger),
            )
        )
        if not order.is_open:
            self._orders.pop((order.number, order.leg), None)
            self._trailing.pop((order.number, order.leg), None)

    def moved_triggers(self) -> dict[OrderName, Decimal]:
        """Return the triggers of trailing stops that followed the price since the last call.

        They are terms of the broker's book, not steps of the order: a strategy is told of none. With such a trigger
        kept, the stop goes on after a restart where it was.
        """
        found = {}
        for name, told in self._trailing.items():
            order = self._orders[name]
            if order.trigger is not None and order.trigger != told:
                self._trailing[name] = order.trigger
                found[name] = order.book.grid.exact_price(order.trigger)
        return found

    def _pass_time(self, time_ns: int) -> None:
        self._market.clock_ns = self._market.instant_ns = max(self._market.clock_ns, time_ns)

    def _drain(self) -> list[PaperEvent]:
        events, self._events = self._events, []
        return events

    def handle(self, intent: OrderIntent) -> list[PaperEvent]:
        """Take an intent that policy has passed, and return what came of it.

        An intent that was seen before does nothing, so that a retry can never become a second order.

        Raises:
            InvalidArgument: The terms break a rule, or the symbol is unknown.
            NotFound: The order that is meant is not open.
        """
        if intent.intent_number <= self._market.number:
            return []
        # Numbered as the strategy numbers, so that both sides speak of the same orders.
        self._market.number = intent.intent_number - 1
        self._pass_time(intent.decide_time_ns)
        # What is asked for works from the time at which it was decided, whatever was asked for besides since then.
        self._market.instant_ns = intent.decide_time_ns
        action = intent.action
        if isinstance(action, PlaceIntent):
            self._place(action.order)
        elif isinstance(action, CancelIntent):
            self._market.cancel(self._find(action.target))
        elif isinstance(action, CancelAllIntent):
            self._market.cancel_all(action.symbol or None)
        else:
            self._replace(action)
        self._market.number = intent.intent_number
        if self._market.fresh:
            self._market.settle()
        return self._drain()

    def _place(self, spec: OrderSpec) -> None:
        market = self._market
        trigger = spec.trigger_price
        in_favour = spec.type in {OrderType.MARKET_IF_TOUCHED, OrderType.LIMIT_IF_TOUCHED}
        market.place(
            spec.side.sign,
            spec.quantity,
            spec.symbol,
            spec.limit_price,
            None if in_favour else trigger,
            _terms(spec, trigger if in_favour else None),
        )

    def _find(self, target: OrderTarget) -> WorkingOrder:
        try:
            return self._orders[target.intent_number, target.leg]
        except KeyError:
            raise errors.NotFound(f"order {target.intent_number}/{target.leg} must be open, was not found") from None

    def _replace(self, action: ReplaceIntent) -> None:
        change, order = action.change, self._find(action.target)
        self._market.replace(order, change.quantity, change.limit_price, change.trigger_price, change.expire_time_ns)

    def resume_exit(self, target: OrderTarget, quantity: Decimal, spec: OrderSpec) -> None:
        """Let an exit work on that was working before a restart, while its entry was filled in part; nothing is told.

        Args:
            target: The exit, of an entry that was handed in again with what was left of it.
            quantity: What is left of the exit.
            spec: Its prices then; of a trailing one also its distance.
        """
        entry = self._find(OrderTarget(target.intent_number))
        child = next(each for each in entry.need_terms().children if each.leg == target.leg)
        grid = child.book.grid
        child.lots = scaled(quantity, grid.size_decimals)
        child.limit = None if spec.limit_price is None else grid.price(spec.limit_price)
        child.trigger = None if spec.trigger_price is None else grid.price(spec.trigger_price)
        if spec.trailing_offset is not None:
            child.need_terms().trail = float(spec.trailing_offset)
            start_trailing(child, child.book.last)
        self._market.resume_exit(child)
        self._drain()

    def on_bars(self, bars: Sequence[LiveBar]) -> list[PaperEvent]:
        """Work the orders on bars that closed at one instant; bars of symbols that are not traded here are ignored."""
        for event in bars:
            book = self.ledger.books.get(event.symbol)
            if book is None:
                continue
            bar, view = event.bar, book.bar
            view.index += 1
            view.open_time_ns = bar.open_time_ns
            view.close_time_ns = bar.open_time_ns if bar.close_time_ns is None else bar.close_time_ns
            view.open, view.high, view.low, view.close = bar.open, bar.high, bar.low, bar.close
            view.volume = math.nan if bar.volume is None else bar.volume
            book.mark = math.nan
            self._market.current = book
            if book.orders:
                self._market.work(book)
        self._pass_time(max((event.bar.close_time_ns or 0 for event in bars), default=0))
        return self._drain()

    def on_tick(self, tick: LiveTick) -> list[PaperEvent]:
        """Work the orders of a symbol on one tick."""
        book = self.ledger.books.get(tick.symbol)
        if book is None:
            return []
        self._pass_time(tick.time_ns)
        if tick.price is not None:
            book.mark = tick.price
        buy = tick.ask if tick.ask is not None else tick.price
        sell = tick.bid if tick.bid is not None else tick.price
        view = book.bar
        view.index += 1
        view.open_time_ns = view.close_time_ns = tick.time_ns
        view.volume = math.nan if tick.size is None else tick.size
        for sign, price in ((1, buy), (-1, sell)):
            if price is not None and book.orders:
                view.open = view.high = view.low = view.close = price
                self._market.work(book, sign)
        return self._drain()

    @property
    def open_orders(self) -> list[WorkingOrder]:
        """Orders that work, in the order in which they came."""
        return [order for book in self.ledger.books.values() for order in book.orders if order.is_open]

    def positions(self) -> Iterator[Position]:
        """Iterate over what is held, exact."""
        for book in self.ledger.books.values():
            if book.holding:
                yield self._position(book)

    def _position(self, book: Book) -> Position:
        last = book.last
        return Position(
            symbol=book.symbol,
            quantity=book.grid.exact_size(book.holding.lots),
            average_price=Decimal(repr(book.holding.average_price)),
            mark_price=book.grid.exact_price(last) if last == last else None,
            currency=self._rules.currency,
            multiplier=book.grid.multiplier,
        )

    def account(self) -> AccountState:
        """Return cash and equity, exact."""
        cash = self.ledger.exact_amount(self.ledger.cash)
        balance = AccountBalance(currency=self._rules.currency, total=cash)
        return AccountState(
            account_id=self.account_id, balances=(balance,), equity=self.ledger.exact_amount(self.ledger.equity)
        )


def _terms(spec: OrderSpec, touch: Decimal | None) -> OrderTerms:
    terms = OrderTerms()
    if touch is not None:
        terms["touch"] = touch
    if spec.notional is not None:
        terms["notional"] = spec.notional
    if spec.trailing_offset is not None:
        terms["trail"] = spec.trailing_offset
    if spec.trailing_ratio is not None:
        terms["trail_ratio"] = spec.trailing_ratio
    if spec.time_in_force is not TimeInForce.GTC:
        terms["tif"] = spec.time_in_force
    if spec.expire_time_ns is not None:
        terms["expires"] = spec.expire_time_ns
    terms["reduce_only"], terms["post_only"], terms["tag"] = spec.reduce_only, spec.post_only, spec.tag
    if spec.bracket is not None:
        _add_exits(terms, spec.bracket.stop_loss, spec.bracket.take_profit)
    if spec.group and spec.group_contingency is not None:
        terms["group"], terms["contingency"] = spec.group, spec.group_contingency
    return terms


def _add_exits(terms: OrderTerms, stop_loss: BracketLeg | None, take_profit: BracketLeg | None) -> None:
    if stop_loss is not None:
        terms["stop_loss"] = stop_loss
    if take_profit is not None:
        terms["take_profit"] = take_profit


def _no_history(symbol: str, interval: str, count: int) -> BarColumns:
    del symbol, interval, count
    return BarColumns.empty()
