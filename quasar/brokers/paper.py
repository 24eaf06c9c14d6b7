"""The paper broker as the registry lists it. Its orders are worked inside of the StrategyEngine, by `quasar.engine`.

No process is started for it: accounts, orders and positions of paper accounts are read and changed through
`TradingService` and `PortfolioService`, and what it trades are the common symbols that are mapped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NoReturn

from quasar.broker import Broker, BrokerEvent, BrokerOrder, OrderName, PlaceAnswer
from quasar.errors import FailedPrecondition
from quasar.model.instants import TimeRange
from quasar.model.instruments import Instrument
from quasar.model.orders import AccountState, Fill, Order, Position
from quasar.sdk.notices import RejectedRow


class Paper(Broker):
    """Fills orders on live prices by the rules of the back-test, without a vendor."""

    name = "Paper"

    async def connect(self) -> None:
        """Do nothing: there is no vendor."""

    async def close(self) -> None:
        """Do nothing: there is no vendor."""

    async def place(self, order: BrokerOrder) -> PlaceAnswer:
        """Refuse: orders of paper accounts come through the StrategyEngine."""
        _refuse(f"order {order.client_order_id}")

    async def cancel(self, order: OrderName) -> Order:
        """Refuse, as `place`."""
        _refuse(f"order {order.client_order_id or order.broker_order_id}")

    async def order(self, order: OrderName) -> tuple[Order, Sequence[Fill]]:
        """Refuse, as `place`."""
        _refuse(f"order {order.client_order_id or order.broker_order_id}")

    async def open_orders(self, broker_symbol: str = "") -> Sequence[Order]:
        """Refuse, as `place`."""
        _refuse("open orders")

    async def positions(self) -> Sequence[Position]:
        """Refuse, as `place`."""
        _refuse("positions")

    async def account(self) -> AccountState:
        """Refuse, as `place`."""
        _refuse("the account")

    def fills(self, span: TimeRange) -> AsyncIterator[Fill]:
        """Refuse, as `place`."""
        _refuse("fills")

    def instruments(self) -> AsyncIterator[Instrument | Sequence[Instrument] | RejectedRow]:
        """Refuse, as `place`; the StrategyEngine lists the common symbols that are mapped in its stead."""
        _refuse("instruments")

    def events(self, since_ns: int | None = None) -> AsyncIterator[BrokerEvent]:
        """Refuse, as `place`."""
        _refuse("events")


def _refuse(what: str) -> NoReturn:
    raise FailedPrecondition(f"{what} must be of an uploaded broker, was of Paper: ask the StrategyEngine.")
