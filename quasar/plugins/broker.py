"""A running broker as the strategy engine sees it: the methods of `quasar.broker.Broker`, in another process.

A call that ends without an answer leaves open whether the vendor has the order: `VendorFailed`, `DeadlineExceeded` and
`PluginUnavailable` all mean that the order is unresolved, and never that it was not sent.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Final

from quasar import errors
from quasar.broker import BrokerEvent, BrokerOrder, OrderName, PlaceAnswer
from quasar.clock import Clock
from quasar.convert.plugin_brokers import (
    account_from_proto,
    broker_order_to_proto,
    event_from_proto,
    order_name_to_proto,
)
from quasar.convert.plugin_orders import (
    change_to_proto,
    fill_from_proto,
    order_from_proto,
    position_from_proto,
    spec_to_proto,
    time_to_proto,
)
from quasar.model.instants import TimeRange
from quasar.model.orders import AccountState, Fill, Order, OrderChange, OrderSpec, Position
from quasar.plugins.charging import charged
from quasar.plugins.keeper import Keeper
from quasar.plugins.manifest import Manifest
from quasar.plugins.permits import Lane
from quasar_proto.plugin.v1 import broker_pb2

_PATH: Final = "/quasar.plugin.v1.BrokerPlugin/"


class BrokerHandle:
    """One broker."""

    def __init__(self, keeper: Keeper, clock: Clock, timeout_s: float = 30.0) -> None:
        """See the plug-in that `keeper` keeps; calls without an answer end after `timeout_s`."""
        self.keeper = keeper
        self._clock = clock
        self._timeout_s = timeout_s

    @property
    def manifest(self) -> Manifest:
        """What the class declares.

        Raises:
            PluginUnavailable: It does not run.
        """
        process = self.keeper.process
        if process is None or process.manifest is None:
            raise errors.PluginUnavailable(f"{self.keeper.code.name} does not run: {self.keeper.last_exit}")
        return process.manifest

    async def place(self, order: BrokerOrder) -> PlaceAnswer:
        """Send one order; it is sent once, whatever happens."""
        answer = await self._call("PlaceOrder", broker_order_to_proto(order))
        fills = tuple(fill_from_proto(fill) for fill in answer.fills)
        return PlaceAnswer(answer.accepted, order_from_proto(answer.order), fills)

    async def cancel(self, order: OrderName) -> Order:
        """Ask to cancel an order."""
        request = broker_pb2.CancelOrderRequest(order=order_name_to_proto(order))
        return order_from_proto((await self._call("CancelOrder", request)).order)

    async def replace(self, order: OrderName, change: OrderChange, spec: OrderSpec) -> Order:
        """Ask to change an order.

        Raises:
            Unimplemented: The vendor cannot; cancel and place instead.
        """
        request = broker_pb2.ReplaceOrderRequest(
            order=order_name_to_proto(order), change=change_to_proto(change), spec=spec_to_proto(spec)
        )
        return order_from_proto((await self._call("ReplaceOrder", request)).order)

    async def order(self, order: OrderName) -> tuple[Order, Sequence[Fill]]:
        """Return one order with its fills.

        Raises:
            NotFound: The vendor is certain not to have it.
        """
        answer = await self._call("GetOrder", broker_pb2.GetOrderRequest(order=order_name_to_proto(order)))
        return order_from_proto(answer.order), [fill_from_proto(fill) for fill in answer.fills]

    async def open_orders(self, broker_symbol: str = "") -> Sequence[Order]:
        """Return open orders."""
        answer = await self._call("ListOpenOrders", broker_pb2.ListOpenOrdersRequest(broker_symbol=broker_symbol))
        return [order_from_proto(order) for order in answer.orders]

    async def positions(self) -> Sequence[Position]:
        """Return the positions that are not flat."""
        answer = await self._call("ListPositions", broker_pb2.ListPositionsRequest())
        return [position_from_proto(position) for position in answer.positions]

    async def account(self) -> AccountState:
        """Return the account."""
        return account_from_proto((await self._call("GetAccount", broker_pb2.GetAccountRequest())).account)

    async def fills(self, span: TimeRange) -> AsyncGenerator[Fill, None]:
        """Yield the fills of a range, oldest first."""
        request = broker_pb2.ListFillsRequest()
        request.range.start.CopyFrom(time_to_proto(span.start_ns))
        request.range.end.CopyFrom(time_to_proto(span.end_ns))
        async for answer in self._stream("ListFills", request):
            for fill in answer.fills:
                yield fill_from_proto(fill)

    async def events(self, since_ns: int | None = None) -> AsyncGenerator[BrokerEvent, None]:
        """Yield what happens; ends with an error when the process does: listen again and reconcile."""
        request = broker_pb2.StreamOrderEventsRequest()
        if since_ns is not None:
            request.since_time.CopyFrom(time_to_proto(since_ns))
        async for answer in self._stream("StreamOrderEvents", request):
            for told in answer.events:
                event = event_from_proto(told)
                if event is not None:
                    yield event

    async def instruments(self, batch_size: int = 0) -> AsyncGenerator[broker_pb2.ListInstrumentsResponse, None]:
        """Yield what the account may trade, in pages as the contract writes them: they are only passed on.

        Raises:
            Unimplemented: The class does not list instruments.
        """
        request = broker_pb2.ListInstrumentsRequest(batch_size=batch_size)
        async with aclosing(self._stream("ListInstruments", request)) as pages:
            async for page in pages:
                yield page

    async def _call(self, method: str, request: Any) -> Any:
        process = await self.keeper.ready()
        answer = getattr(broker_pb2, f"{method}Response")
        call: Any = process.channel.unary_unary(f"{_PATH}{method}", type(request).SerializeToString, answer.FromString)
        async with charged(process, Lane.TRADING):
            return await process.answer(call(request, timeout=self._timeout_s))

    async def _stream(self, method: str, request: Any) -> AsyncGenerator[Any, None]:
        process = await self.keeper.ready()
        answer = getattr(broker_pb2, f"{method}Response")
        async with charged(process, Lane.TRADING):
            pass  # for the call; it is not kept while the answer streams, which may be for as long as the broker runs
        call: Any = process.channel.unary_stream(
            f"{_PATH}{method}", type(request).SerializeToString, answer.FromString
        )(request)
        async with aclosing(process.messages(call)) as messages:
            async for message in messages:
                yield message
