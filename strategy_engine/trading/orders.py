"""Orders, fills and positions as they are kept."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

from quasar.model.order_states import OrderStatus
from quasar.model.orders import Fill, OrderSide, OrderSpec
from quasar.ops.actors import Actor

Document = Mapping[str, Any]
ZERO = Decimal(0)
ENGINE = "ENGINE"
"""Origin of orders that the engine places by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOrder:
    """An order that is to be placed."""

    client_order_id: str
    account_id: str
    spec: OrderSpec
    origin: str
    """`STRATEGY`, `MANUAL` or `ENGINE`."""
    instance_id: str = ""
    run_id: uuid.UUID | None = None
    intent_number: int | None = None
    decide_time: dt.datetime | None = None
    actor: Actor | None = None
    running: bool = True
    """False: the strategy that wishes it is paused; it is denied and kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredOrder:
    """An order as it stands."""

    client_order_id: str
    account_id: str
    broker: str
    spec: OrderSpec
    """With the quantity and prices in force."""
    asked: OrderSpec
    """As it was placed."""
    status: OrderStatus
    status_text: str
    origin: str
    instance_id: str
    run_id: uuid.UUID | None
    intent_number: int
    leg: int
    currency: str
    denials: Sequence[Document]
    filled_quantity: Decimal
    average_fill_price: Decimal | None
    parent_client_order_id: str
    reference_price: Decimal | None
    decide_time: dt.datetime | None
    create_time: dt.datetime
    submit_time: dt.datetime | None
    accept_time: dt.datetime | None
    update_time: dt.datetime
    final_time: dt.datetime | None
    revision: int
    actor: Actor | None

    @property
    def remaining(self) -> Decimal:
        """What is still worked, in units."""
        return ZERO if self.status.is_final else (self.spec.quantity or ZERO) - self.filled_quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFill:
    """An execution as it is kept."""

    fill_id: uuid.UUID
    fill: Fill
    account_id: str
    instance_id: str
    run_id: uuid.UUID | None
    receive_time: dt.datetime
    realised_pnl: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A position as it is kept."""

    account_id: str
    instance_id: str
    symbol: str
    currency: str = ""
    quantity: Decimal = ZERO
    average_price: Decimal | None = None
    multiplier: Decimal = Decimal(1)
    mark_price: Decimal | None = None
    mark_time: dt.datetime | None = None
    realised_pnl: Decimal = ZERO
    """Commission not deducted."""
    commission: Decimal = ZERO
    open_time: dt.datetime | None = None
    update_time: dt.datetime | None = None
    revision: int = 0

    @property
    def market_value(self) -> Decimal:
        """Signed; at the average price where there is no mark."""
        price = self.mark_price if self.mark_price is not None else self.average_price
        return self.quantity * (price or ZERO) * self.multiplier

    @property
    def unrealised_pnl(self) -> Decimal:
        """Profit of what is held against its average price."""
        if self.mark_price is None or self.average_price is None:
            return ZERO
        return self.quantity * (self.mark_price - self.average_price) * self.multiplier


@dataclass(frozen=True, slots=True, kw_only=True)
class FillOutcome:
    """The broker filled a part of an order."""

    client_order_id: str
    fill: Fill
    multiplier: Decimal = Decimal(1)
    """Of the instrument."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusOutcome:
    """The broker tells where an order stands."""

    client_order_id: str
    status: OrderStatus
    text: str = ""
    quantity: Decimal | None = None
    limit_price: Decimal | None = None
    trigger_price: Decimal | None = None
    expire_time_ns: int | None = None
    """What a change made of the end of a GTD order; None: it was not changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailOutcome:
    """The trigger of a trailing stop followed the price; nobody but the row is told."""

    client_order_id: str
    trigger_price: Decimal


Outcome = FillOutcome | StatusOutcome | TrailOutcome


@dataclass(frozen=True, slots=True)
class Changed:
    """What an outcome did: the order as it stands now, and the fill where there was one."""

    order: StoredOrder
    former_status: OrderStatus | None
    fill: StoredFill | None = None
    position: Held | None = None


class Documents(Protocol):
    """Writes and reads the JSON forms of the contract; implemented by `rpc`."""

    def spec(self, spec: OrderSpec) -> Document:
        """Return an order's terms."""
        ...

    def read_spec(self, document: Document) -> OrderSpec:
        """Return the terms that a document holds."""
        ...

    def order(self, order: StoredOrder) -> Document:
        """Return an order."""
        ...

    def fill(self, fill: StoredFill) -> Document:
        """Return a fill."""
        ...

    def position(self, held: Held) -> Document:
        """Return a position."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Booked:
    """A position after a fill, and the profit that the fill realised."""

    held: Held
    realised: Decimal
    cash: Decimal
    """What the fill added to the cash, commission deducted; negative for a purchase."""


def booked(held: Held, fill: Fill, time: dt.datetime) -> Booked:
    """Take a fill into a position: the average price moves when it grows, profit is realised when it shrinks."""
    signed = fill.quantity if fill.side is OrderSide.BUY else -fill.quantity
    before, after = held.quantity, held.quantity + signed
    average = held.average_price or ZERO
    realised = ZERO
    if before and (before > 0) != (signed > 0):
        closed = min(abs(before), abs(signed)) * (1 if before > 0 else -1)
        realised = closed * (fill.price - average) * held.multiplier
    if not after:
        new_average: Decimal | None = None
    elif not before or (before > 0) != (after > 0):
        new_average = fill.price
    elif (before > 0) == (signed > 0):
        new_average = (average * before + fill.price * signed) / after
    else:
        new_average = average
    opened = held.open_time if before and after and (before > 0) == (after > 0) else time
    position = Held(
        account_id=held.account_id,
        instance_id=held.instance_id,
        symbol=held.symbol,
        currency=held.currency or fill.currency,
        quantity=after,
        average_price=new_average,
        multiplier=held.multiplier,
        mark_price=fill.price,
        mark_time=time,
        realised_pnl=held.realised_pnl + realised,
        commission=held.commission + fill.commission,
        open_time=opened if after else None,
        update_time=time,
        revision=held.revision + 1,
    )
    return Booked(held=position, realised=realised, cash=-signed * fill.price * held.multiplier - fill.commission)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A paper account."""

    account_id: str
    display_name: str
    currency: str
    cash: Decimal
    settings: Document
    """`paper`: the contract's PaperSettings; `labels`; `initial_cash` as text."""
    paid_in: Decimal = ZERO
    """Cash paid in since it began, less paid out."""
    open_orders: int = 0
    instance_ids: Sequence[str] = field(default_factory=tuple)
    revision: int = 1
    create_time: dt.datetime | None = None
    update_time: dt.datetime | None = None

    @property
    def initial_cash(self) -> Decimal:
        """What it began with."""
        return Decimal(str(self.settings.get("initial_cash", "0")))

    @property
    def invested(self) -> Decimal:
        """What was put into it: what it began with and what was paid in since."""
        return self.initial_cash + self.paid_in
