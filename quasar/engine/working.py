"""An order while it works inside the engine: mutable and small, because a market maker makes millions of them."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from quasar.engine.grid import Number, exact
from quasar.model.order_states import OPEN_STATUSES, OrderStatus
from quasar.model.orders import (
    Bracket,
    Contingency,
    Order,
    OrderSide,
    OrderSpec,
    OrderType,
    TimeInForce,
    backtest_order_id,
)

if TYPE_CHECKING:  # the book holds its orders; an import at run time would be circular
    from quasar.engine.book import Book

MARKET = OrderType.MARKET
LIMIT = OrderType.LIMIT
TRAILING_STOP = OrderType.TRAILING_STOP
GTC = TimeInForce.GTC
ACCEPTED = OrderStatus.ACCEPTED


class Terms:
    """What only some orders have; kept apart so that a plain order stays small."""

    __slots__ = (
        "best",
        "bracket",
        "children",
        "contingency",
        "expire_time_ns",
        "fraction",
        "group",
        "linked",
        "notional",
        "parent",
        "post_only",
        "reduce_only",
        "session",
        "tag",
        "text",
        "trail",
        "trail_ratio",
        "worked",
    )

    def __init__(self) -> None:
        """Set everything to what an order without the term has."""
        self.tag = self.text = self.group = ""
        self.reduce_only = self.post_only = self.worked = False
        self.expire_time_ns = 0
        self.session = -1
        self.fraction: Decimal | None = None
        self.notional: Decimal | None = None
        self.trail: float | None = None
        self.trail_ratio: float | None = None
        self.best: float | None = None
        self.bracket: Bracket | None = None
        self.contingency: Contingency | None = None
        self.linked: list[WorkingOrder] = []
        self.children: list[WorkingOrder] = []
        self.parent: WorkingOrder | None = None


class WorkingOrder:
    """The handle that `buy` and `sell` return; its state is kept up to date by the engine, and read by strategies.

    The upper half of the attributes is the engine's; the properties below are for everybody.
    """

    __slots__ = (
        "book",
        "filled",
        "is_open",
        "leg",
        "limit",
        "lots",
        "number",
        "placed_bar",
        "placed_ns",
        "sign",
        "status",
        "terms",
        "tif",
        "trigger",
        "type",
        "worth",
    )

    def __init__(
        self, book: Book, number: int, sign: int, kind: OrderType, lots: int, limit: float | None, trigger: float | None
    ) -> None:
        """Make a plain order that works at once; `terms` adds the rest."""
        self.book = book
        self.number = number
        self.leg = 0
        self.sign = sign
        self.type = kind
        self.lots = lots
        self.filled = 0
        self.worth = 0
        self.limit = limit
        self.trigger = trigger
        self.tif = GTC
        self.status = ACCEPTED
        self.is_open = True
        self.placed_bar = book.bar.index
        self.placed_ns = 0
        self.terms: Terms | None = None

    def need_terms(self) -> Terms:
        """Return the rarer terms, made on first use."""
        if self.terms is None:
            self.terms = Terms()
        return self.terms

    def move(self, status: OrderStatus) -> None:
        """Set the status. An order that is being cancelled counts as gone, in live trading as in a back-test."""
        self.status = status
        self.is_open = status in OPEN_STATUSES and status is not OrderStatus.PENDING_CANCEL

    @property
    def client_order_id(self) -> str:
        """The id of the order within its run: "17", or "17/1" for the stop-loss of 17."""
        return backtest_order_id(self.number, self.leg)

    @property
    def symbol(self) -> str:
        """What it trades."""
        return self.book.symbol

    @property
    def side(self) -> OrderSide:
        """Buy or sell."""
        return OrderSide.BUY if self.sign > 0 else OrderSide.SELL

    @property
    def quantity(self) -> float:
        """All of it, in units of the instrument; 0 while an order that is sized when it fills has no size."""
        return self.lots / self.book.size_scale

    @property
    def filled_quantity(self) -> float:
        """What of it is filled."""
        return self.filled / self.book.size_scale

    @property
    def average_fill_price(self) -> float | None:
        """Average price of what is filled; None when nothing is."""
        return self.worth / (self.filled * self.book.fine_scale) if self.filled else None

    @property
    def tag(self) -> str:
        """The author's label."""
        return self.terms.tag if self.terms else ""

    @property
    def text(self) -> str:
        """Why it was rejected, cancelled or expired."""
        return self.terms.text if self.terms else ""

    @property
    def stop_loss(self) -> WorkingOrder | None:
        """The exit at a loss of a bracket's entry."""
        return self._child(1)

    @property
    def take_profit(self) -> WorkingOrder | None:
        """The exit at a gain of a bracket's entry."""
        return self._child(2)

    def _child(self, leg: int) -> WorkingOrder | None:
        children = self.terms.children if self.terms else []
        return next((child for child in children if child.leg == leg), None)

    def spec(self) -> OrderSpec:
        """Return the terms in force as an exact value."""
        grid = self.book.grid
        terms = self.terms or Terms()
        trails = self.type is TRAILING_STOP
        return OrderSpec(
            symbol=self.symbol,
            side=self.side,
            type=self.type,
            quantity=grid.exact_size(self.lots),
            limit_price=None if self.limit is None else grid.exact_price(self.limit),
            trigger_price=None if self.trigger is None else grid.exact_price(self.trigger),
            trailing_offset=_decimal(terms.trail) if trails else None,
            trailing_ratio=_decimal(terms.trail_ratio) if trails else None,
            time_in_force=self.tif,
            expire_time_ns=terms.expire_time_ns or None,
            reduce_only=terms.reduce_only,
            post_only=terms.post_only,
            bracket=terms.bracket,
            group=terms.group,
            group_contingency=terms.contingency if terms.group else None,
            tag=terms.tag,
        )

    def snapshot(self) -> Order:
        """Return the order as it stands as an exact value."""
        parent = self.terms.parent if self.terms else None
        average = None
        if self.filled:
            price_units = Decimal(self.worth) / self.filled
            average = price_units.scaleb(-self.book.fine_decimals)
        return Order(
            client_order_id=self.client_order_id,
            spec=self.spec(),
            status=self.status,
            intent_number=self.number,
            leg=self.leg,
            status_text=self.text,
            filled_quantity=exact(self.filled, self.book.grid.size_decimals),
            average_fill_price=average,
            parent_client_order_id=parent.client_order_id if parent else "",
        )

    def __repr__(self) -> str:
        """Show what a person wants to know at a glance."""
        prices = "".join(
            f" {name} {value}" for name in ("limit", "trigger") if (value := getattr(self, name)) is not None
        )
        head = f"{self.client_order_id} {self.side.value} {self.quantity:g} {self.symbol} {self.type.value}"
        return f"<order {head}{prices} {self.status.value} filled {self.filled_quantity:g}>"


def _decimal(value: Number | None) -> Decimal | None:
    return None if value is None else Decimal(repr(value))
