"""What an author of a broker subclasses: a destination of orders, which passes on and reports, and decides nothing.

Never twice: an order is known by its `client_order_id`. A call that ends without an answer leaves the order
unresolved, and the platform asks `order` instead of sending it again. So a broker must not repeat `place` or
`replace` to its vendor on its own after an error that leaves open whether the vendor has it; it raises `VendorFailed`
or `DeadlineExceeded`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar

from quasar import errors
from quasar.model.instants import TimeRange
from quasar.model.instruments import Instrument
from quasar.model.orders import AccountState, Fill, Order, OrderChange, OrderSpec, Position
from quasar.sdk.notices import RejectedRow


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerOrder:
    """What is sent: the terms, checked by policy and stored under the id before."""

    client_order_id: str
    """1 to 36 characters of [A-Za-z0-9-]; never reused."""
    broker_symbol: str
    """The symbol as the broker writes it."""
    spec: OrderSpec
    """The terms; `spec.symbol` is the platform's name."""
    reference_price: Decimal | None = None
    """The last price that the platform saw, for vendors that want a protection price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderName:
    """Names an order at a broker; at least one id is set."""

    client_order_id: str = ""
    broker_order_id: str = ""
    broker_symbol: str = ""

    def __post_init__(self) -> None:
        """Check that there is an id.

        Raises:
            InvalidArgument: Both ids are empty.
        """
        if not self.client_order_id and not self.broker_order_id:
            raise errors.InvalidArgument("client_order_id or broker_order_id must be set, was neither")


@dataclass(frozen=True, slots=True)
class PlaceAnswer:
    """What a vendor answered to an order."""

    accepted: bool
    """The vendor has it. False: it refused it for good, and `order.status_text` says why."""
    order: Order
    """The order as it stands."""
    fills: tuple[Fill, ...] = ()
    """Fills that came with the answer."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The connection to the vendor is there; events from here on are complete, and the platform reconciles now."""

    connection: int
    """Counts the connections of one stream from 1."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection to the vendor is lost; the broker connects again."""

    reason: str


BrokerEvent = Order | Fill | Position | AccountState | Connected | Disconnected
"""One thing that happened; an order, position or account as it stands after it. The same fill may come twice."""


class Broker(ABC):
    """Base class of brokers. All numbers are exact decimals; all times are nanoseconds UTC.

    An instance lives in a process of its own and is used by one event loop. `connect` comes first and `close` last.
    """

    name: ClassVar[str] = ""
    """Name in the registry; empty: the class's name in lower case with underscores."""
    secret_names: ClassVar[tuple[str, ...]] = ()
    """Secrets that it needs, by name; they are given to the constructor and must never be logged."""
    hosts: ClassVar[tuple[str, ...]] = ()
    """Hosts that it talks to, as "host:port"; it reaches no other."""

    @abstractmethod
    async def connect(self) -> None:
        """Open connections and check the credentials.

        Raises:
            VendorFailed: The vendor cannot be reached or refuses the credentials.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close connections; open orders stay where they are."""

    @abstractmethod
    async def place(self, order: BrokerOrder) -> PlaceAnswer:
        """Send one order. An id that the vendor has already returns the order as it stands.

        Raises:
            VendorFailed: It is not known whether the vendor has it.
        """

    @abstractmethod
    async def cancel(self, order: OrderName) -> Order:
        """Ask to cancel an order and return it as it stands; one that has ended is returned as it ended.

        Raises:
            NotFound: The vendor is certain not to have it.
        """

    async def replace(self, order: OrderName, change: OrderChange, spec: OrderSpec) -> Order:
        """Ask to change an open order and return it as it stands.

        Args:
            order: Which one.
            change: The terms that change.
            spec: All terms after the change, for vendors that want them all.

        Raises:
            Unimplemented: The vendor cannot; the platform cancels and places instead.
            BrokerRejected: It refuses the change, and the order stays as it was.
        """
        del order, change, spec
        raise errors.Unimplemented(f"broker {self.registered_name()} does not replace orders")

    @abstractmethod
    async def order(self, order: OrderName) -> tuple[Order, Sequence[Fill]]:
        """Return one order, open or ended, with its fills: the answer to every doubt.

        Raises:
            NotFound: The vendor is certain not to have it.
            VendorFailed: The vendor cannot be asked.
        """

    @abstractmethod
    async def open_orders(self, broker_symbol: str = "") -> Sequence[Order]:
        """Return all open orders of the account, or of one symbol; those placed by other means included."""

    @abstractmethod
    async def positions(self) -> Sequence[Position]:
        """Return the positions that are not flat."""

    @abstractmethod
    async def account(self) -> AccountState:
        """Return cash, margin and equity as the vendor tells them."""

    @abstractmethod
    def fills(self, span: TimeRange) -> AsyncIterator[Fill]:
        """Iterate over the fills of the account in a half-open range, oldest first."""

    @abstractmethod
    def events(self, since_ns: int | None = None) -> AsyncIterator[BrokerEvent]:
        """Iterate over what happens, for as long as the caller listens, beginning with `Connected`.

        After a break the broker connects again and gives `Connected` once more. For a vendor that pushes nothing it
        polls.

        Args:
            since_ns: Also what happened since then, as far as the vendor keeps it.
        """

    def instruments(self) -> AsyncIterator[Instrument | Sequence[Instrument] | RejectedRow]:
        """Iterate over what the account may trade, made with `self.instrument`; the Registry keeps it as assets.

        Raises:
            Unimplemented: The vendor has no list.
        """
        raise errors.Unimplemented(f"broker {self.registered_name()} does not list instruments")

    def instrument(self, symbol: str, *, asset_class: str | None = None, **fields: Any) -> Instrument:
        """Return a symbol of this broker; `fields` are those of `Instrument`, blanks become None.

        Raises:
            InvalidArgument: A field is malformed.
        """
        return Instrument.told(self.registered_name(), symbol, asset_class=asset_class, **fields)

    @classmethod
    def registered_name(cls) -> str:
        """Return the name in the registry."""
        return cls.name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()
