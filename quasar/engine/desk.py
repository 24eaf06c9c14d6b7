"""What stands between a strategy and its market: orders, time, timers, history and notes; the same in every mode.

`quasar.engine.simulation.Simulation` fills orders itself; `quasar.engine.live.Outbox` hands them out as intents.
"""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from quasar import errors
from quasar.engine.book import Book
from quasar.engine.grid import Number
from quasar.engine.indicators import Indicator
from quasar.engine.ledger import Ledger
from quasar.engine.terms import OrderTerms, apply_terms
from quasar.engine.working import LIMIT, MARKET, WorkingOrder
from quasar.model.bars import BarColumns
from quasar.model.orders import (
    CancelAllIntent,
    CancelIntent,
    IntentAction,
    OrderChange,
    OrderIntent,
    OrderTarget,
    OrderType,
    PlaceIntent,
    ReplaceIntent,
    TimeInForce,
)
from quasar.model.signals import Signal

MAX_NOTES: Final = 10_000
_STOP = OrderType.STOP
_STOP_LIMIT = OrderType.STOP_LIMIT
_NO_TERMS: Final = OrderTerms()


@dataclass(frozen=True, slots=True)
class Note:
    """One line that a strategy wrote."""

    time_ns: int
    """The event time at which it was written."""
    level: str
    """debug, info, warning or error."""
    message: str


class Timer(NamedTuple):
    """One wake-up of a strategy."""

    due_ns: int
    number: int
    name: str
    every_ns: int


@dataclass(frozen=True, slots=True)
class Request:
    """One indicator that a strategy asked for."""

    indicator: Indicator
    symbol: str
    interval: str


HistorySource = Callable[[str, str, int], BarColumns]
"""(symbol, interval, count) → the last bars that the strategy may know."""


class Desk(ABC):
    """Takes a strategy's wishes. Subclasses say what becomes of them."""

    def __init__(self, ledger: Ledger, history: HistorySource, *, keep_intents: bool) -> None:
        """Open the desk over the books of a ledger."""
        self.ledger = ledger
        self.books: Mapping[str, Book] = ledger.books
        self.history = history
        self.current = next(iter(ledger.books.values()))
        """The book that orders without a symbol go to: that of the bar or tick at hand."""
        self.clock_ns = 0
        """Event time where it is not that of the current bar (ticks, timers, several series); 0: that of the bar."""
        self.number = 0
        self.intents: list[OrderIntent] | None = [] if keep_intents else None
        self.requests: list[Request] = []
        self.starting = False
        self.timers: list[Timer] = []
        self._timers_made = 0
        self.notes: list[Note] = []
        self.notes_dropped = 0
        self._groups: dict[str, list[WorkingOrder]] = {}

    @property
    def now_ns(self) -> int:
        """The event time of what the strategy was shown last, nanoseconds UTC; 0 before the first event."""
        return self.clock_ns or self.current.bar.close_time_ns

    def book(self, symbol: str | None) -> Book:
        """Return the book of a symbol.

        Raises:
            InvalidArgument: The strategy does not run on that symbol.
        """
        if symbol is None:
            return self.current
        try:
            return self.books[symbol]
        except KeyError:
            raise errors.InvalidArgument(f"symbol must be one of {', '.join(self.books)}, was {symbol}") from None

    def place(
        self,
        sign: int,
        quantity: Number | None,
        symbol: str | None,
        limit: Number | None,
        stop: Number | None,
        terms: OrderTerms = _NO_TERMS,
    ) -> WorkingOrder:
        """Make an order and send it.

        Raises:
            InvalidArgument: A term breaks a rule.
        """
        book = self.current if symbol is None else self.book(symbol)
        lots = 0 if quantity is None else book.grid.lots(quantity)
        if lots <= 0 and (quantity is not None or not terms):
            raise errors.InvalidArgument(f"quantity must be above 0 and at least the smallest size, was {quantity}")
        limit_price = None if limit is None else book.grid.price(limit, "limit")
        if stop is None:
            trigger, kind = None, MARKET if limit is None else LIMIT
        else:
            trigger, kind = book.grid.price(stop, "stop"), _STOP if limit is None else _STOP_LIMIT
        order = WorkingOrder(book, self.number + 1, sign, kind, lots, limit_price, trigger)
        if terms:
            apply_terms(order, terms, book)
            self._join_group(order)
        self._give(order)
        return order

    def place_lots(self, book: Book, signed_lots: int) -> WorkingOrder:
        """Make a market order for a number of lots, above 0 to buy, and send it."""
        order = WorkingOrder(book, self.number + 1, 1 if signed_lots > 0 else -1, MARKET, abs(signed_lots), None, None)
        self._give(order)
        return order

    def _give(self, order: WorkingOrder) -> None:
        self.number += 1
        self._send(order)
        if self.intents is not None:
            self._note_intent(self.intents, PlaceIntent(order.spec()))

    def _join_group(self, order: WorkingOrder) -> None:
        terms = order.need_terms()
        if not terms.group:
            return
        members = [member for member in self._groups.get(terms.group, ()) if member.is_open]
        for member in members:
            member.need_terms().linked.append(order)
            terms.linked.append(member)
        self._groups[terms.group] = [*members, order]

    def cancel(self, order: WorkingOrder) -> None:
        """Cancel an order and the exits that wait for it; one that is final or being cancelled stays as it is."""
        if not order.is_open:
            return
        self.number += 1
        if self.intents is not None:
            self._note_intent(self.intents, CancelIntent(OrderTarget(order.number, order.leg)))
        self._withdraw(order)

    def cancel_all(self, symbol: str | None = None) -> None:
        """Cancel every open order, or those of one symbol."""
        books = self.books.values() if symbol is None else (self.book(symbol),)
        self.number += 1
        if self.intents is not None:
            self._note_intent(self.intents, CancelAllIntent(symbol or ""))
        for book in books:
            if book.orders:
                self._withdraw_all(book)

    def replace(
        self,
        order: WorkingOrder,
        quantity: Number | None,
        limit: Number | None,
        stop: Number | None,
        expire_time_ns: int | None = None,
    ) -> None:
        """Change the terms of an open order.

        Raises:
            InvalidArgument: The quantity is not above what is filled, or the order has no such price or no end.
            FailedPrecondition: The order is final.
        """
        if not order.is_open:
            raise errors.FailedPrecondition(f"order {order.client_order_id} must be open, was {order.status.value}")
        grid = order.book.grid
        lots = order.lots if quantity is None else grid.lots(quantity)
        if quantity is not None and lots <= order.filled:
            raise errors.InvalidArgument(f"quantity must be above what is filled, was {quantity}")
        for name, given, present in (("limit", limit, order.limit), ("stop", stop, order.trigger)):
            if given is not None and present is None:
                raise errors.InvalidArgument(f"{name} must be absent for {order.type.value}, was {given}")
        if expire_time_ns is not None and order.tif is not TimeInForce.GTD:
            raise errors.InvalidArgument(f"expires must be absent for {order.tif.value}, was {expire_time_ns}")
        new_limit = order.limit if limit is None else grid.price(limit, "limit")
        new_trigger = order.trigger if stop is None else grid.price(stop, "stop")
        self.number += 1
        if self.intents is not None:
            change = OrderChange(
                quantity=None if quantity is None else grid.exact_size(lots),
                limit_price=None if limit is None or new_limit is None else grid.exact_price(new_limit),
                trigger_price=None if stop is None or new_trigger is None else grid.exact_price(new_trigger),
                expire_time_ns=expire_time_ns,
            )
            self._note_intent(self.intents, ReplaceIntent(OrderTarget(order.number, order.leg), change))
        if expire_time_ns is not None:
            order.need_terms().expire_time_ns = expire_time_ns
        self._amend(order, lots, new_limit, new_trigger)

    def _note_intent(self, intents: list[OrderIntent], action: IntentAction) -> None:
        intents.append(OrderIntent(intent_number=self.number, decide_time_ns=self.now_ns, action=action))

    @abstractmethod
    def _send(self, order: WorkingOrder) -> None:
        """Let a new order work."""

    @abstractmethod
    def _withdraw(self, order: WorkingOrder) -> None:
        """Stop an open order."""

    @abstractmethod
    def _withdraw_all(self, book: Book) -> None:
        """Stop the open orders of a book."""

    @abstractmethod
    def _amend(self, order: WorkingOrder, lots: int, limit: float | None, trigger: float | None) -> None:
        """Change an open order."""

    def request(self, indicator: Indicator, symbol: str | None, interval: str | None) -> None:
        """Keep an indicator fed from the first bar on.

        Raises:
            FailedPrecondition: It is asked for after the start; its first values would be missing.
        """
        if not self.starting:
            raise errors.FailedPrecondition("indicators must be made in on_start, was later")
        self.requests.append(Request(indicator, self.book(symbol).symbol, interval or ""))

    def set_timer(self, name: str, due_ns: int, every_ns: int) -> None:
        """Wake the strategy at a time, and again at a distance."""
        self._timers_made += 1
        heapq.heappush(self.timers, Timer(due_ns, self._timers_made, name, every_ns))

    def due_timers(self, now_ns: int, call: Callable[[str], None]) -> None:
        """Call for each timer that is due, in the order of their times."""
        while self.timers and self.timers[0].due_ns <= now_ns:
            timer = heapq.heappop(self.timers)
            if timer.every_ns:
                self.set_timer(timer.name, timer.due_ns + timer.every_ns, timer.every_ns)
            self.clock_ns, before = timer.due_ns, self.clock_ns
            try:
                call(timer.name)
            finally:
                self.clock_ns = before

    def signal(self, signal: Signal) -> None:
        """Take what the strategy saw; in a back-test it is a line of its log."""
        self.note("info", str(signal))

    def note(self, level: str, message: str) -> None:
        """Keep a line of the strategy's; after ten thousand lines they are only counted."""
        if len(self.notes) < MAX_NOTES:
            self.notes.append(Note(self.now_ns, level, message))
        else:
            self.notes_dropped += 1
