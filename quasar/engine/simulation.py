"""A simulated market: works orders on bars, fills them exactly, and keeps brackets and groups together.

The back-test drives it directly; the paper broker puts it behind order intents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from quasar.engine.book import Book
from quasar.engine.desk import Desk, HistorySource
from quasar.engine.ledger import FillRow, Ledger
from quasar.engine.matching import TOUCH, bar_after_entry
from quasar.engine.matching import limit as touch_limit
from quasar.engine.rules import ExitsFrom, FillAt, MarketRules
from quasar.engine.terms import DAY_NS, release_exit
from quasar.engine.working import GTC, LIMIT, MARKET, Terms, WorkingOrder
from quasar.model.order_states import OrderStatus
from quasar.model.orders import LIMIT_TYPES, Contingency, TimeInForce

Prices = tuple[float, float, float, float]
"""Open, high, low and close, as far as an order may see them."""

_HELD = OrderStatus.HELD
_FILLED = OrderStatus.FILLED
_PARTIALLY_FILLED = OrderStatus.PARTIALLY_FILLED
_CANCELLED = OrderStatus.CANCELLED
_REJECTED = OrderStatus.REJECTED
_EXPIRED = OrderStatus.EXPIRED

_AT_ONCE: Final[Mapping[TimeInForce, OrderStatus]] = {
    TimeInForce.IOC: _CANCELLED,
    TimeInForce.FOK: _CANCELLED,
    TimeInForce.AT_OPEN: _EXPIRED,
    TimeInForce.AT_CLOSE: _EXPIRED,
}
"""What becomes of the rest of an order that works at one price only."""


class OrderHook(Protocol):
    """Hears of every change of an order."""

    def __call__(self, order: WorkingOrder) -> None:
        """Take the order in its new state."""


class Simulation(Desk):
    """Orders, fills and money of one account in one simulated market.

    Sessions are days in UTC: a DAY order expires with the day of the first bar that it worked in, AT_OPEN fills at
    the open of the first bar of another day than the one it was given in, AT_CLOSE at the close of a bar that ends
    its day.
    """

    def __init__(
        self, rules: MarketRules, ledger: Ledger, history: HistorySource, *, keep_intents: bool = False
    ) -> None:
        """Open the market."""
        super().__init__(ledger, history, keep_intents=keep_intents)
        self.rules = rules
        self.on_fill: Callable[[WorkingOrder, FillRow], None] | None = None
        """Hears of every fill, after order and position have taken it in."""
        self.on_order: OrderHook | None = None
        """Hears of every change of an order's status."""
        self.mixed = False
        """Whether several series come: an order is not worked on a bar that opened before the order was given."""
        self.instant_ns = 0
        """With several series: the time from which a new order works; later than the clock while fills are told."""
        self.acted: list[WorkingOrder] = []
        """Orders that filled or were rejected or expired, in the order of that."""
        self.cancelled = 0
        """How many orders were cancelled with nothing filled."""
        self.fresh: list[WorkingOrder] = []
        """With SAME_CLOSE, the orders given since the last settlement."""
        self._same_close = rules.fill_at is FillAt.SAME_CLOSE
        self._exits_at_once = rules.exits_from is ExitsFrom.ENTRY_BAR
        self._closing = False
        self._share = None if rules.volume_share is None else float(rules.volume_share)
        self._ended = False
        self._reducing = False

    def work(self, book: Book, side: int = 0) -> None:
        """Work the orders of a book on its present bar: those of both sides, or of one sign only."""
        bar = book.bar
        opening, high, low, close = bar.open, bar.high, bar.low, bar.close
        orders = book.orders
        special = self.mixed
        for order in orders.copy():
            if not order.is_open or (side and order.sign != side):
                continue
            if special or order.terms is not None:
                self._work_special(order, (opening, high, low, close))
                continue
            kind = order.type
            if kind is LIMIT:
                price = touch_limit(order, opening, high, low, close)
            else:
                price = opening if kind is MARKET else self._touched(order, opening, high, low, close)
            if price is not None:
                self._fill(order, price)
        if self._ended:
            self._sweep(orders)

    def _touched(self, order: WorkingOrder, opening: float, high: float, low: float, close: float) -> float | None:
        before = order.status
        price = TOUCH[order.type](order, opening, high, low, close)
        if price is None and order.status is not before:
            self._tell(order)  # triggered, and not filled at once
        return price

    def _sweep(self, orders: list[WorkingOrder]) -> None:
        # In place: the loops hold on to this very list.
        orders[:] = [order for order in orders if order.is_open]
        self._ended = False

    def settle(self) -> None:
        """With SAME_CLOSE: work the orders given at an instant on the closes of that instant alone."""
        given, self.fresh[:] = self.fresh.copy(), []
        now_ns = self.now_ns
        self._closing = True
        for order in given:
            bar = order.book.bar
            if not order.is_open or bar.close_time_ns != now_ns:
                continue
            close = bar.close
            price = TOUCH[order.type](order, close, close, close, close)
            if price is not None:
                self._fill(order, price)
        self._closing = False
        if self._ended:
            for book in {order.book.index: order.book for order in given}.values():
                book.orders[:] = [order for order in book.orders if order.is_open]

    def _work_special(self, order: WorkingOrder, prices: Prices) -> None:
        bar = order.book.bar
        if order.placed_ns > bar.open_time_ns:
            return
        visible = prices if order.tif is GTC else self._visible(order, prices)
        if visible is None:
            return
        terms = order.terms
        price = self._touched(order, *visible)
        if price is not None and not (terms is not None and terms.post_only and self._takes(order, price)):
            self._fill(order, price)
        if order.is_open and order.tif in _AT_ONCE:
            self._end(order, _AT_ONCE[order.tif], f"{order.tif.value} leaves nothing working")

    def _takes(self, order: WorkingOrder, price: float) -> bool:
        if order.placed_bar + 1 == order.book.bar.index and price == order.book.bar.open:
            self._end(order, _REJECTED, "POST_ONLY would have traded at once")
            return True
        return False

    def _visible(self, order: WorkingOrder, prices: Prices) -> Prices | None:
        """Return what of the bar an order may see by its time in force; None: nothing."""
        bar, terms, tif = order.book.bar, order.need_terms(), order.tif
        session = bar.open_time_ns // DAY_NS
        opening, close = prices[0], prices[3]
        if tif is TimeInForce.GTD:
            if bar.open_time_ns >= terms.expire_time_ns:
                self._end(order, _EXPIRED, "its time is over")
                return None
            return prices
        if tif is TimeInForce.DAY:
            terms.session = session if terms.session < 0 else terms.session
            if terms.session != session:
                self._end(order, _EXPIRED, "the session is over")
                return None
            return prices
        if tif is TimeInForce.AT_OPEN:
            return None if terms.session == session else (opening,) * 4
        if tif is TimeInForce.AT_CLOSE:
            return (close,) * 4 if bar.close_time_ns // DAY_NS != session else None
        return (opening,) * 4

    def _fill(self, order: WorkingOrder, price: float) -> None:
        book, ledger, terms = order.book, self.ledger, order.terms
        bar = book.bar
        maker = order.type is LIMIT and (price == order.limit or order.placed_bar + 1 < bar.index)
        lots = order.lots - order.filled
        units = round(price * book.price_scale) * book.fine
        if book.slip is not None and order.type not in LIMIT_TYPES:
            units = book.slip(order.sign, units, lots, bar.volume * book.size_scale)
        if terms is not None or self._share is not None:
            lots = self._allowed(order, lots, units, maker)
            if not lots:
                return
        signed = order.sign * lots
        value = units * book.money
        commission = book.charge(lots, lots * value, maker)
        if reason := ledger.denial(book, signed, units, commission):
            self._end(order, _CANCELLED if order.filled else _REJECTED, reason)
            return
        cash = ledger.cash - signed * value - commission
        row = FillRow(
            book.index, bar.index, bar.open_time_ns, signed, units, commission, cash, order.number, order.leg, maker
        )
        ledger.apply(book, row)
        self._take_in(order, row, lots, price)

    def _take_in(self, order: WorkingOrder, row: FillRow, lots: int, price: float) -> None:
        if not order.filled:
            self.acted.append(order)
        order.filled += lots
        order.worth += lots * row.units
        if order.filled == order.lots:
            order.status = _FILLED
            order.is_open = False
            self._ended = True
        else:
            order.status = _PARTIALLY_FILLED
        terms = order.terms
        if terms is not None:
            self._take_from_linked(terms, lots)
        if self.on_fill is not None:
            self.on_fill(order, row)
        if self.on_order is not None:
            self.on_order(order)
        if self._reducing:
            self._drop_needless(order.book)
        if terms is not None and terms.children:
            self._release_exits(order, terms, lots, price)

    def _tell(self, order: WorkingOrder) -> None:
        if self.on_order is not None:
            self.on_order(order)

    def _drop_needless(self, book: Book) -> None:
        """Cancel what only reduces, where nothing is left to reduce."""
        lots = book.holding.lots
        for order in book.orders:
            if order.is_open and order.terms is not None and order.terms.reduce_only and order.sign * lots >= 0:
                self._end(order, _CANCELLED, "nothing is left to reduce")

    def _allowed(self, order: WorkingOrder, lots: int, units: int, maker: bool) -> int:
        """Return how much of an order may fill now: sized by cash, cut to the position, cut to the bar's volume."""
        book, terms = order.book, order.terms
        if terms is not None and terms.fraction is not None and not order.lots:
            lots = order.lots = self.ledger.affordable(book, units, terms.fraction, maker=maker)
            if not lots:
                self._end(order, _REJECTED, "INSUFFICIENT_CASH")
                return 0
        if terms is not None and terms.reduce_only:
            lots = min(lots, max(0, -order.sign * book.holding.lots))
            if not lots:
                self._end(order, _CANCELLED, "nothing is left to reduce")
                return 0
        if self._share is not None:
            room = book.room(self._share)
            if order.tif is TimeInForce.FOK and room < lots:
                return 0
            lots = min(lots, room)
            book.traded_lots += lots
        return lots

    def _take_from_linked(self, terms: Terms, lots: int) -> None:
        if terms.parent is not None and terms.parent.is_open:
            self._end(terms.parent, _CANCELLED, "an exit traded before all of the entry did")
        for other in terms.linked:
            if not other.is_open:
                continue
            if terms.contingency is Contingency.OUO:
                other.lots -= lots
                if other.lots > other.filled:
                    self._tell(other)
                    continue
            self._end(other, _CANCELLED, "the other order of its group traded")

    def _release_exits(self, order: WorkingOrder, terms: Terms, lots: int, price: float) -> None:
        book, bracket = order.book, terms.bracket
        assert bracket is not None
        for child in terms.children:
            child.lots += lots
            leg = bracket.stop_loss if child.leg == 1 else bracket.take_profit
            if child.status is _HELD and leg is not None:
                release_exit(child, leg, order.average_fill_price or price)
                child.placed_bar = book.bar.index
                child.placed_ns = book.bar.open_time_ns
                self._reducing = True
                book.orders.append(child)
                self._tell(child)
            elif child.is_open:
                self._tell(child)
        if self._exits_at_once and not self._closing:
            bar = book.bar
            rest = bar_after_entry(order, price, bar.open, bar.high, bar.low, bar.close)
            for child in terms.children:
                if child.is_open:
                    self._work_special(child, rest)

    def resume_exit(self, child: WorkingOrder) -> None:
        """Let an exit that has its prices and size already work on beside the rest of its entry."""
        child.placed_bar = child.book.bar.index
        child.move(OrderStatus.ACCEPTED)
        child.book.orders.append(child)
        self._reducing = True
        self._tell(child)

    def _end(self, order: WorkingOrder, status: OrderStatus, text: str = "") -> None:
        if text:
            order.need_terms().text = text
        order.status = status
        order.is_open = False
        self._ended = True
        if status is not _CANCELLED:
            if not order.filled:
                self.acted.append(order)
        elif not order.filled:
            self.cancelled += 1
        if self.on_order is not None:
            self.on_order(order)
        if order.terms is not None:
            for child in order.terms.children:
                if child.status is _HELD:
                    self._end(child, _CANCELLED, "its entry ended")

    def _send(self, order: WorkingOrder) -> None:
        terms = order.terms
        if terms is not None and terms.group and order.type is not LIMIT:
            # Of a group, what limits a loss is worked before what takes a gain.
            order.book.orders.insert(0, order)
        else:
            order.book.orders.append(order)
        if terms is not None and terms.reduce_only:
            self._reducing = True
        if self.mixed:
            order.placed_ns = self.instant_ns
        if self._same_close:
            self.fresh.append(order)
        if self.on_order is not None:
            self.on_order(order)

    def _withdraw(self, order: WorkingOrder) -> None:
        self._end(order, _CANCELLED)
        if order in order.book.orders:
            order.book.orders.remove(order)

    def _withdraw_all(self, book: Book) -> None:
        orders = book.orders.copy()
        book.orders.clear()
        for order in orders:
            if order.terms is None and self.on_order is None and order.is_open:
                # What _end does for a plain order that nobody listens to.
                order.status = _CANCELLED
                order.is_open = False
                self.cancelled += not order.filled
            elif order.is_open:
                self._end(order, _CANCELLED)

    def _amend(self, order: WorkingOrder, lots: int, limit: float | None, trigger: float | None) -> None:
        order.lots, order.limit, order.trigger = lots, limit, trigger
        order.placed_bar = order.book.bar.index
        if self.mixed:
            # As a new order: what its bar did before the change must not fill it on the new terms.
            order.placed_ns = self.instant_ns
        self._tell(order)
