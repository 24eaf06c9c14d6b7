"""The same strategy, fed event by event: bars, ticks, fills and time come in, order intents go out.

On the same bars, and with fills as the paper broker makes them, it gives the intents of the back-test, one for one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from quasar import errors
from quasar.engine.book import Book
from quasar.engine.desk import MAX_NOTES, Desk, HistorySource
from quasar.engine.grid import Grid, scaled
from quasar.engine.ledger import FillRow, Ledger
from quasar.engine.rules import MarketRules
from quasar.engine.series import BarView, TickView
from quasar.engine.working import WorkingOrder
from quasar.model.bars import Bar, BarColumns
from quasar.model.order_states import OrderStatus
from quasar.model.orders import Fill, OrderIntent, Position
from quasar.model.signals import Signal

if TYPE_CHECKING:  # quasar.strategy is built on this package
    from quasar.strategy import Strategy

HISTORY_BARS: Final = 5_000
"""Bars kept for `history`, for each series."""

SeriesName = tuple[str, str]
"""Symbol and interval."""
OrderName = tuple[int, int]
"""Intent number and leg."""


@dataclass(frozen=True, slots=True)
class LiveBar:
    """A closed bar of one series."""

    symbol: str
    interval: str
    bar: Bar


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTick:
    """A tick of one symbol; what it does not carry is absent."""

    symbol: str
    time_ns: int
    price: float | None = None
    size: float | None = None
    bid: float | None = None
    ask: float | None = None


class Outbox(Desk):
    """A desk whose orders go out as intents; their fate comes back from outside."""

    def __init__(self, ledger: Ledger, history: HistorySource) -> None:
        """Open the desk."""
        super().__init__(ledger, history, keep_intents=True)
        self.orders: dict[OrderName, WorkingOrder] = {}
        self.signals: list[Signal] = []
        """Given since somebody took them last."""

    def signal(self, signal: Signal) -> None:
        """Keep a signal to be told; of too many between two takings the first ones."""
        if len(self.signals) < MAX_NOTES:
            self.signals.append(signal)

    def drain(self) -> list[OrderIntent]:
        """Return the intents since the last call."""
        assert self.intents is not None
        out, self.intents[:] = self.intents.copy(), []
        return out

    def _send(self, order: WorkingOrder) -> None:
        terms = order.terms
        if terms is not None and terms.fraction is not None:
            price = order.limit if order.limit is not None else order.book.last
            units = order.book.grid.units(price) if price == price else 0
            order.lots = self.ledger.affordable(order.book, units * order.book.fine, terms.fraction)
            if not order.lots:
                self.number -= 1
                text = f"fraction must buy at least the smallest size, was {terms.fraction} at {price}"
                raise errors.InvalidArgument(text)
        order.move(OrderStatus.PENDING_NEW)
        for each in (order, *(terms.children if terms else ())):
            self.orders[each.number, each.leg] = each
        order.book.orders.append(order)

    def _withdraw(self, order: WorkingOrder) -> None:
        order.move(OrderStatus.PENDING_CANCEL)
        for child in order.terms.children if order.terms else ():
            if child.status is OrderStatus.HELD:
                child.move(OrderStatus.PENDING_CANCEL)
        order.book.orders[:] = [other for other in order.book.orders if other.is_open]

    def _withdraw_all(self, book: Book) -> None:
        for order in book.orders.copy():
            self._withdraw(order)

    def _amend(self, order: WorkingOrder, lots: int, limit: float | None, trigger: float | None) -> None:
        # The new terms hold when the broker says so; until then the order may fill on the former ones.
        del lots, limit, trigger
        order.move(OrderStatus.PENDING_REPLACE)


class _Feed:
    """One series as it comes in."""

    def __init__(self, symbol: str, interval: str, book: Book, bar: BarView) -> None:
        self.book = book
        self.bar = bar
        self.bar.interval = interval
        self.symbol = symbol
        self.interval = interval
        self.first = 0
        self.recent: deque[Bar] = deque(maxlen=HISTORY_BARS)

    def take(self, bar: Bar) -> None:
        if bar.open_time_ns <= self.bar.open_time_ns and self.bar.index >= 0:
            raise errors.InvalidArgument(f"bars of {self.symbol} {self.interval} must ascend by open time, was {bar}")
        view = self.bar
        view.index += 1
        view.open_time_ns = bar.open_time_ns
        view.close_time_ns = bar.open_time_ns if bar.close_time_ns is None else bar.close_time_ns
        view.open, view.high, view.low, view.close = bar.open, bar.high, bar.low, bar.close
        view.volume = math.nan if bar.volume is None else bar.volume
        self.recent.append(bar)


class LiveEngine:
    """Drives one strategy instance. Not for use by several threads or tasks at once."""

    def __init__(
        self,
        strategy: Strategy,
        series: Sequence[SeriesName],
        grids: Mapping[str, Grid],
        rules: MarketRules | None = None,
    ) -> None:
        """Make the engine of one run.

        Args:
            strategy: A fresh instance.
            series: The series that will come; of several of one symbol the first trades.
            grids: Where prices and sizes of each symbol lie.
            rules: Starting cash, and the costs by which a `fraction` is sized; fills come from outside.

        Raises:
            InvalidArgument: A symbol has no grid, or there is no series.
        """
        symbols = list(dict.fromkeys(symbol for symbol, _ in series))
        missing = [symbol for symbol in symbols if symbol not in grids]
        if missing or not symbols:
            raise errors.InvalidArgument(f"every series must have a grid, was without for {missing or 'no series'}")
        self.rules = rules or MarketRules()
        self.strategy = strategy
        self.ledger = Ledger(self.rules, ((symbol, grids[symbol]) for symbol in symbols))
        self.desk = Outbox(self.ledger, self._history)
        self._feeds: dict[SeriesName, _Feed] = {}
        for symbol, interval in series:
            book = self.ledger.books[symbol]
            first = all(name[0] != symbol for name in self._feeds)
            self._feeds[symbol, interval] = _Feed(symbol, interval, book, book.bar if first else BarView(symbol))
        self._ticks = {symbol: TickView(symbol) for symbol in symbols}
        self._hears_ticks = strategy.overrides("on_tick")
        strategy.attach(self.desk)

    def adopt(self, *, cash: Decimal, positions: Iterable[Position], next_intent_number: int) -> None:
        """Begin from what the instance holds already, before `start`: after a crash, a restart or a swap of versions.

        Args:
            cash: What it may use.
            positions: What it holds; each with its average price.
            next_intent_number: One more than the last that is known outside, so that no number is used twice.
        """
        ledger = self.ledger
        ledger.cash = scaled(cash, ledger.money_decimals)
        for position in positions:
            book = self.desk.book(position.symbol)
            lots = scaled(position.quantity, book.grid.size_decimals)
            book.holding.add(lots - book.holding.lots, float(position.average_price or 0), book.size_scale)
            if lots:
                ledger.held[book.index] = book
        self.desk.number = next_intent_number - 1

    def _feed(self, symbol: str, interval: str) -> _Feed:
        for (own, length), feed in self._feeds.items():
            if own == symbol and interval in {"", length}:
                return feed
        raise errors.InvalidArgument(f"series must be among those of the run, was {symbol} {interval}")

    def _history(self, symbol: str, interval: str, count: int) -> BarColumns:
        recent = self._feed(symbol, interval).recent
        return BarColumns.from_bars(list(recent)[-count:] if count > 0 else [])

    def start(self, now_ns: int = 0) -> list[OrderIntent]:
        """Let the strategy prepare.

        Args:
            now_ns: Event time of the start, nanoseconds UTC.

        Returns:
            What it asks for.
        """
        desk, strategy = self.desk, self.strategy
        desk.clock_ns = now_ns
        for feed in self._feeds.values():
            feed.first = max(0, strategy.warm_up - 1)
        desk.starting = True
        strategy.on_start()
        desk.starting = False
        for request in desk.requests:
            feed = self._feed(request.symbol, request.interval)
            request.indicator.bind(feed.book.grid)
            feed.first = max(feed.first, request.indicator.length - 1)
        return desk.drain()

    @property
    def warm_up_bars(self) -> dict[SeriesName, int]:
        """How many bars of history each series needs before its first live bar, known after `start`."""
        return {name: feed.first for name, feed in self._feeds.items()}

    def warm_up(self, bars: Sequence[LiveBar]) -> None:
        """Show bars of the past to indicators and history; the strategy is not asked to decide on them."""
        for event in bars:
            self._advance(event)

    def _advance(self, event: LiveBar) -> _Feed:
        feed = self._feeds.get((event.symbol, event.interval))
        if feed is None:
            raise errors.InvalidArgument(f"series must be of the run, was {event.symbol} {event.interval}")
        feed.take(event.bar)
        for request in self.desk.requests:
            if request.symbol == feed.symbol and request.interval in {"", feed.interval}:
                value = request.indicator.update(feed.bar)
                # As in a back-test, the indicators of a series come to life together.
                request.indicator.value = value if feed.bar.index >= feed.first else math.nan
        return feed

    def on_bars(self, bars: Sequence[LiveBar]) -> list[OrderIntent]:
        """Take all bars that closed at one instant, in the order of the series, and return what the strategy asks for.

        Fills up to that instant must have been told before.
        """
        desk, strategy = self.desk, self.strategy
        feeds = [self._advance(event) for event in bars]
        if feeds:
            desk.clock_ns = max(feed.bar.close_time_ns for feed in feeds)
            desk.due_timers(desk.clock_ns, strategy.on_timer)
        for feed in feeds:
            feed.book.mark = math.nan
            if feed.bar.index >= feed.first:
                desk.current = feed.book
                strategy.position = feed.book.holding
                strategy.on_bar(feed.bar)
        return desk.drain()

    def on_tick(self, tick: LiveTick) -> list[OrderIntent]:
        """Take a tick and return what the strategy asks for."""
        book = self.desk.book(tick.symbol)
        desk, strategy = self.desk, self.strategy
        desk.clock_ns = tick.time_ns
        if tick.price is not None:
            book.mark = tick.price
        desk.due_timers(tick.time_ns, strategy.on_timer)
        if self._hears_ticks:
            view = self._ticks[tick.symbol]
            view.time_ns = tick.time_ns
            view.price, view.size, view.bid, view.ask = map(_number, (tick.price, tick.size, tick.bid, tick.ask))
            desk.current = book
            strategy.position = book.holding
            strategy.on_tick(view)
        return desk.drain()

    def on_time(self, now_ns: int) -> list[OrderIntent]:
        """Let event time pass while the market is silent: timers that are due are called."""
        self.desk.clock_ns = max(self.desk.clock_ns, now_ns)
        self.desk.due_timers(now_ns, self.strategy.on_timer)
        return self.desk.drain()

    def on_fill(self, intent_number: int, leg: int, fill: Fill) -> list[OrderIntent]:
        """Take a fill: position and cash first, then the order, then the strategy's hook.

        Args:
            intent_number: The intent that placed the order; 0 for a fill of no order of this run.
            leg: 0: the order; 1: its stop-loss; 2: its take-profit.
            fill: What happened.
        """
        book = self.desk.book(fill.symbol)
        ledger = self.ledger
        signed = fill.side.sign * scaled(fill.quantity, book.grid.size_decimals)
        units = scaled(fill.price, book.fine_decimals)
        commission = scaled(fill.commission, ledger.money_decimals)
        cash = ledger.cash - signed * units * book.money - commission
        index = -1 if fill.bar_index is None else fill.bar_index
        row = FillRow(book.index, index, fill.fill_time_ns, signed, units, commission, cash, intent_number, leg, False)
        ledger.apply(book, row)
        if order := self.desk.orders.get((intent_number, leg)):
            order.filled += abs(signed)
            order.worth += abs(signed) * units
        desk, strategy = self.desk, self.strategy
        desk.clock_ns = max(desk.clock_ns, fill.fill_time_ns)
        before = desk.current
        desk.current, strategy.position = book, book.holding
        strategy.on_fill(fill)
        desk.current, strategy.position = before, before.holding
        return self.desk.drain()

    def on_order(self, update: OrderUpdate) -> list[OrderIntent]:
        """Take what a broker or policy says about an order of this run, and tell the strategy; others are ignored."""
        order = self.desk.orders.get((update.intent_number, update.leg))
        if order is None:
            return []
        order.move(update.status)
        if update.text:
            order.need_terms().text = update.text
        grid = order.book.grid
        if update.quantity is not None:
            order.lots = scaled(update.quantity, grid.size_decimals)
        if update.limit_price is not None:
            order.limit = grid.price(update.limit_price)
        if update.trigger_price is not None:
            order.trigger = grid.price(update.trigger_price)
        self._keep(order)
        self.strategy.on_order(order)
        return self.desk.drain()

    def _keep(self, order: WorkingOrder) -> None:
        orders = order.book.orders
        if order.is_open and order.status is not OrderStatus.HELD:
            if order not in orders:
                orders.append(order)
        elif order in orders:
            orders.remove(order)
        if order.status.is_final:
            self.desk.orders.pop((order.number, order.leg), None)

    def stop(self) -> list[OrderIntent]:
        """Let the strategy end."""
        self.strategy.on_stop()
        return self.desk.drain()


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderUpdate:
    """What became of an order: its status, and the terms in force where they changed."""

    intent_number: int
    leg: int = 0
    status: OrderStatus
    text: str = ""
    quantity: Decimal | None = None
    limit_price: Decimal | None = None
    trigger_price: Decimal | None = None


def _number(value: float | None) -> float:
    return math.nan if value is None else value
