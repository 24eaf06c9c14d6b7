"""What an author of a strategy subclasses. The same class, unchanged, runs in back-test, paper and live trading.

    class Cross(Strategy):
        fast = Parameter(10, minimum=1)
        slow = Parameter(30, minimum=2)

        def on_start(self) -> None:
            self.quick = self.indicator(SMA(self.fast))
            self.calm = self.indicator(SMA(self.slow))

        def on_bar(self, bar: Bar) -> None:
            if self.position.is_flat and self.quick.value > self.calm.value:
                self.buy(100)
            elif self.position.is_long and self.quick.value < self.calm.value:
                self.close()

A strategy sees a bar when it has closed. An order given then works from the next bar on, unless the back-test says
otherwise. Numbers that strategies reckon with are doubles; orders, fills, cash and results are exact, and doubles are
put on the instrument's grid as orders are made.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar, Unpack, cast

from quasar import errors
from quasar.engine.book import Holding
from quasar.engine.desk import Desk
from quasar.engine.grid import Grid, Number
from quasar.engine.indicators import ATR, EMA, RSI, SMA, Highest, Indicator, Lowest, Momentum, StdDev
from quasar.engine.parameters import Parameter, declared
from quasar.engine.series import BarView as Bar
from quasar.engine.series import TickView as Tick
from quasar.engine.terms import OrderTerms
from quasar.engine.working import WorkingOrder
from quasar.model.bars import BarColumns
from quasar.model.instants import from_ns, to_ns
from quasar.model.order_states import OrderStatus
from quasar.model.orders import BracketLeg, Contingency, Fill, TimeInForce
from quasar.model.signals import Signal, SignalTerms

__all__ = [
    "ATR",
    "EMA",
    "RSI",
    "SMA",
    "Bar",
    "BracketLeg",
    "Contingency",
    "Fill",
    "Highest",
    "Indicator",
    "Lowest",
    "Momentum",
    "Number",
    "OrderStatus",
    "OrderTerms",
    "Parameter",
    "StdDev",
    "Strategy",
    "Tick",
    "TimeInForce",
    "WorkingOrder",
]

AnyIndicator = TypeVar("AnyIndicator", bound=Indicator)
_HOOKS = ("on_bar", "on_tick", "on_fill", "on_order", "on_timer")


class _NoDesk:
    def __getattr__(self, name: str) -> object:
        raise errors.FailedPrecondition("a strategy must act in on_start or later, was in __init__")


# Stands in until the strategy runs, so that no call in a hot path has to ask whether there is a desk.
_NO_DESK = cast("Desk", _NoDesk())


class Strategy:
    """Base class of strategies: declare on the class, decide in the hooks, act through `self`."""

    name: ClassVar[str] = ""
    """Name in the registry; empty: the class's name in lower case with underscores."""
    intervals: ClassVar[tuple[str, ...]] = ()
    """Intervals that it runs on, the finest of which trades; empty: whichever it is given."""
    min_symbols: ClassVar[int] = 1
    """How many symbols it needs."""
    max_symbols: ClassVar[int] = 1
    """How many symbols it takes."""
    warm_up: ClassVar[int] = 0
    """Bars of each series before the first `on_bar`, where indicators do not ask for more."""

    position: Holding
    """What is held of the symbol of the bar or tick at hand."""

    def __init__(self, parameters: Mapping[str, object] | None = None) -> None:
        """Set the parameters; what is not given has its default.

        Raises:
            InvalidArgument: A parameter is unknown, of another type or out of bounds.
        """
        known = declared(type(self))
        given = dict(parameters or {})
        if unknown := sorted(set(given) - set(known)):
            names = ", ".join(known) or "none"
            raise errors.InvalidArgument(f"parameters must be among {names}, was {', '.join(unknown)}")
        for name, parameter in known.items():
            self.__dict__[name] = parameter.read(given[name]) if name in given else parameter.default
        self._desk: Desk = _NO_DESK

    # What an author overrides.

    def on_start(self) -> None:
        """Prepare: make indicators here, set timers. No bar has been seen."""

    def on_bar(self, bar: Bar) -> None:
        """Decide at the close of a bar. The object is refilled for the next bar: keep `bar.copy()`."""

    def on_tick(self, tick: Tick) -> None:
        """Decide at a tick. The object is refilled for the next tick."""

    def on_fill(self, fill: Fill) -> None:
        """Hear of a fill of an own order, after the whole bar or tick was worked.

        Positions and cash have it already, and may have later fills of the same bar too; `fill.position_after` is what
        was held right after this one.
        """

    def on_order(self, order: WorkingOrder) -> None:
        """Hear of a new status of an own order."""

    def on_timer(self, name: str) -> None:
        """Be woken by a timer that was set."""

    def on_stop(self) -> None:
        """Finish: the last event has been seen. Orders given here are not worked."""

    # What an author calls.

    def buy(
        self,
        quantity: Number | None = None,
        *,
        symbol: str | None = None,
        limit: Number | None = None,
        stop: Number | None = None,
        **terms: Unpack[OrderTerms],
    ) -> WorkingOrder:
        """Buy: at market, or with `limit`, `stop`, both (stop-limit) or the terms of `OrderTerms`.

        Args:
            quantity: Units of the instrument, above 0; absent with `fraction` or `notional`.
            symbol: What to buy; absent: the symbol of the bar or tick at hand.
            limit: The most to pay.
            stop: Wait until the price rises to this.
            **terms: See `OrderTerms`.

        Returns:
            The order, kept up to date; its `status` says what became of it.

        Raises:
            InvalidArgument: A term breaks a rule.
        """
        return self._desk.place(1, quantity, symbol, limit, stop, terms)

    def sell(
        self,
        quantity: Number | None = None,
        *,
        symbol: str | None = None,
        limit: Number | None = None,
        stop: Number | None = None,
        **terms: Unpack[OrderTerms],
    ) -> WorkingOrder:
        """Sell, also what is not held (a short position); the arguments are those of `buy`."""
        return self._desk.place(-1, quantity, symbol, limit, stop, terms)

    def bracket(
        self,
        quantity: Number,
        *,
        stop_loss: Number | BracketLeg,
        take_profit: Number | BracketLeg,
        symbol: str | None = None,
        limit: Number | None = None,
        stop: Number | None = None,
    ) -> WorkingOrder:
        """Enter with two exits of which one cancels the other: above 0 buys, below 0 sells."""
        text = str(quantity)
        sign, size = (-1, text[1:]) if text.startswith("-") else (1, text)
        terms = OrderTerms(stop_loss=stop_loss, take_profit=take_profit)
        return self._desk.place(sign, size, symbol, limit, stop, terms)

    def order_target(self, quantity: Number, *, symbol: str | None = None) -> WorkingOrder | None:
        """Trade at market whatever brings the position to a signed quantity, in whole steps; None when it is there.

        What open orders would add is not counted: cancel them first.
        """
        desk = self._desk
        book = desk.book(symbol)
        wanted, held = book.grid.lots(quantity), book.holding.lots
        # What is to be flat is closed to the last lot, on the step or not.
        missing = book.grid.stepped(wanted - held) if wanted else -held
        return desk.place_lots(book, missing) if missing else None

    def close(self, symbol: str | None = None) -> WorkingOrder | None:
        """Close the position at market; None when there is none."""
        desk = self._desk
        book = desk.current if symbol is None else desk.book(symbol)
        lots = book.holding.lots
        return desk.place_lots(book, -lots) if lots else None

    def cancel(self, order: WorkingOrder) -> None:
        """Cancel an order, and the exits that wait for it."""
        self._desk.cancel(order)

    def cancel_all(self, symbol: str | None = None) -> None:
        """Cancel every open order, or those of one symbol."""
        self._desk.cancel_all(symbol)

    def replace(
        self,
        order: WorkingOrder,
        *,
        quantity: Number | None = None,
        limit: Number | None = None,
        stop: Number | None = None,
    ) -> None:
        """Change an open order; what is absent stays."""
        self._desk.replace(order, quantity, limit, stop)

    def indicator(
        self, indicator: AnyIndicator, *, symbol: str | None = None, interval: str | None = None
    ) -> AnyIndicator:
        """Have an indicator fed with every bar of a series; `on_bar` of that series waits until it is ready.

        Args:
            indicator: For example `SMA(30)`; read its `value`.
            symbol: The series' symbol; absent: the first.
            interval: The series' interval; absent: the first of the symbol.

        Returns:
            The same indicator.
        """
        self._desk.request(indicator, symbol, interval)
        return indicator

    def history(self, count: int, *, symbol: str | None = None, interval: str | None = None) -> BarColumns:
        """Return the last `count` bars, the bar at hand included, as columns; fewer when there are not as many."""
        desk = self._desk
        return desk.history(desk.book(symbol).symbol, interval or "", count)

    def holding(self, symbol: str) -> Holding:
        """Return what is held of a symbol."""
        return self._desk.book(symbol).holding

    @property
    def positions(self) -> dict[str, Holding]:
        """What is held, by symbol; symbols that are flat are left out."""
        return {symbol: book.holding for symbol, book in self._desk.books.items() if book.holding}

    @property
    def open_orders(self) -> list[WorkingOrder]:
        """Orders that work and are not being cancelled, in the order in which they were given."""
        return [order for book in self._desk.books.values() for order in book.orders if order.is_open]

    @property
    def symbols(self) -> tuple[str, ...]:
        """What it runs on."""
        return tuple(self._desk.books)

    def grid(self, symbol: str | None = None) -> Grid:
        """Return where prices and sizes of a symbol lie; `floor` and `ceil` put a price on it."""
        return self._desk.book(symbol).grid

    @property
    def cash(self) -> float:
        """Cash, in the account's currency."""
        ledger = self._desk.ledger
        return ledger.amount(ledger.cash)

    @property
    def equity(self) -> float:
        """Cash and positions at their last prices, in the account's currency."""
        ledger = self._desk.ledger
        return ledger.amount(ledger.equity)

    @property
    def now(self) -> dt.datetime:
        """The event time of what was shown last, aware, in UTC; never the time of the machine."""
        return from_ns(self._desk.now_ns)

    def set_timer(
        self,
        name: str,
        *,
        at: dt.datetime | None = None,
        after: dt.timedelta | None = None,
        every: dt.timedelta | None = None,
    ) -> None:
        """Have `on_timer(name)` called in event time: at a time, after a while, or again and again.

        Args:
            name: Handed to `on_timer`.
            at: When, aware.
            after: How long from now, above 0.
            every: Repeat at this distance, above 0; alone, the first is one distance from now.

        Raises:
            InvalidArgument: No time is given, or one is not above 0.
        """
        desk = self._desk
        first = after if after is not None else every
        if (at is None) == (after is None) and (at is not None or every is None):
            raise errors.InvalidArgument("a timer must have either at or after, or every alone")
        if any(span is not None and span <= dt.timedelta(0) for span in (after, every)):
            raise errors.InvalidArgument(f"after and every must be above 0, was {after} and {every}")
        due = desk.now_ns + _span_ns(first) if at is None else to_ns(at, "at")
        desk.set_timer(name, due, _span_ns(every))

    def log(self, message: str, *, level: str = "info") -> None:
        """Write a line into the run's telemetry, stamped with event time."""
        self._desk.note(level, message)

    def signal(self, direction: str = "", *, symbol: str | None = None, **told: Unpack[SignalTerms]) -> None:
        """Tell what it saw, whether or not it acts on it; in a back-test this is a line of the log.

        Args:
            direction: "long", "short" or "flat"; empty: it has none.
            symbol: What it is about; absent: the symbol of the bar or tick at hand.
            **told: See `SignalTerms`.

        Raises:
            InvalidArgument: The direction is another word, strength or price is no finite number, or the strategy does
                not run on the symbol.
        """
        desk = self._desk
        desk.signal(Signal.told(desk.now_ns, desk.book(symbol).symbol, direction, told))

    # What the engine calls.

    def attach(self, desk: Desk) -> None:
        """Put the strategy at a desk. An instance runs once.

        Raises:
            FailedPrecondition: It has run already; its state would leak from one run into another.
        """
        if self._desk is not _NO_DESK:
            raise errors.FailedPrecondition("a strategy instance must run once; make another one for another run")
        self._desk = desk
        self.position = desk.current.holding

    def overrides(self, hook: str) -> bool:
        """Tell whether the subclass has a hook of its own."""
        return getattr(type(self), hook) is not getattr(Strategy, hook)

    @classmethod
    def registered_name(cls) -> str:
        """Return the name in the registry."""
        return cls.name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """Return the declaration as plain values; the parameters as JSON Schema."""
        return {
            "name": cls.registered_name(),
            "description": (cls.__doc__ or "").strip(),
            "intervals": list(cls.intervals),
            "min_symbols": cls.min_symbols,
            "max_symbols": cls.max_symbols,
            "warm_up": cls.warm_up,
            "hooks": [hook for hook in _HOOKS if getattr(cls, hook) is not getattr(Strategy, hook)],
            "parameters": {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "type": "object",
                "additionalProperties": False,
                "properties": {name: parameter.schema() for name, parameter in declared(cls).items()},
            },
        }


def _span_ns(span: dt.timedelta | None) -> int:
    return 0 if span is None else span // dt.timedelta(microseconds=1) * 1000
