"""Serves a broker: orders, positions, account, events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Final

from quasar import errors
from quasar.broker import BrokerEvent
from quasar.convert.plugin_brokers import (
    account_to_proto,
    broker_order_from_proto,
    event_to_proto,
    order_name_from_proto,
)
from quasar.convert.plugin_orders import (
    change_from_proto,
    fill_to_proto,
    order_to_proto,
    position_to_proto,
    spec_from_proto,
)
from quasar.convert.plugin_rows import instrument_to_proto
from quasar.model.instants import MIN_NS, TimeRange
from quasar.model.instruments import Instrument
from quasar.plugins.host.runtime import Runtime
from quasar.plugins.serving import Rpc
from quasar.sdk.notices import RejectedRow
from quasar_proto.plugin.v1 import broker_pb2 as messages

_BATCH_INSTRUMENTS: Final = 1_000
_MOST_ERRORS: Final = 100
_HEARTBEAT_S: Final = 5.0


class BrokerService:
    """Serves `quasar.plugin.v1.BrokerPlugin`."""

    def __init__(self, runtime: Runtime) -> None:
        """Serve one broker."""
        self._runtime = runtime

    @property
    def _broker(self) -> Any:
        return self._runtime.need_instance()

    async def PlaceOrder(self, request: messages.PlaceOrderRequest, rpc: Rpc) -> messages.PlaceOrderResponse:
        """Send one order."""
        if request.validate_only:
            raise errors.Unimplemented("a broker class cannot say whether its vendor would take an order")
        answer = await self._broker.place(broker_order_from_proto(request))
        return messages.PlaceOrderResponse(
            accepted=answer.accepted,
            order=order_to_proto(answer.order),
            fills=[fill_to_proto(fill) for fill in answer.fills],
        )

    async def CancelOrder(self, request: messages.CancelOrderRequest, rpc: Rpc) -> messages.CancelOrderResponse:
        """Ask to cancel an order."""
        order = await self._broker.cancel(order_name_from_proto(request.order))
        return messages.CancelOrderResponse(order=order_to_proto(order))

    async def ReplaceOrder(self, request: messages.ReplaceOrderRequest, rpc: Rpc) -> messages.ReplaceOrderResponse:
        """Ask to change an order."""
        name, change = order_name_from_proto(request.order), change_from_proto(request.change)
        order = await self._broker.replace(name, change, spec_from_proto(request.spec))
        former = name.broker_order_id if name.broker_order_id != order.broker_order_id else ""
        return messages.ReplaceOrderResponse(order=order_to_proto(order), former_broker_order_id=former)

    async def GetOrder(self, request: messages.GetOrderRequest, rpc: Rpc) -> messages.GetOrderResponse:
        """Return one order."""
        order, fills = await self._broker.order(order_name_from_proto(request.order))
        return messages.GetOrderResponse(order=order_to_proto(order), fills=[fill_to_proto(fill) for fill in fills])

    async def ListOpenOrders(
        self, request: messages.ListOpenOrdersRequest, rpc: Rpc
    ) -> messages.ListOpenOrdersResponse:
        """Return open orders."""
        orders = await self._broker.open_orders(request.broker_symbol)
        return messages.ListOpenOrdersResponse(orders=[order_to_proto(order) for order in orders])

    async def ListPositions(self, request: messages.ListPositionsRequest, rpc: Rpc) -> messages.ListPositionsResponse:
        """Return positions."""
        positions = await self._broker.positions()
        return messages.ListPositionsResponse(positions=[position_to_proto(one) for one in positions])

    async def GetAccount(self, request: messages.GetAccountRequest, rpc: Rpc) -> messages.GetAccountResponse:
        """Return the account."""
        return messages.GetAccountResponse(account=account_to_proto(await self._broker.account()))

    async def ListFills(self, request: messages.ListFillsRequest, rpc: Rpc) -> None:
        """Stream fills."""
        if request.broker_symbol:
            raise errors.Unimplemented("a broker class cannot tell the fills of one symbol")
        span = request.range
        now = self._runtime.context.clock.time_ns()
        start = span.start.ToNanoseconds() if span.HasField("start") else MIN_NS
        end = span.end.ToNanoseconds() if span.HasField("end") else now
        async with aclosing(self._broker.fills(TimeRange(start, end))) as fills:
            async for fill in fills:
                await rpc.write(messages.ListFillsResponse(fills=[fill_to_proto(fill)]))

    async def StreamOrderEvents(self, request: messages.StreamOrderEventsRequest, rpc: Rpc) -> None:
        """Stream what happens, and an empty message after each silence."""
        since = request.since_time.ToNanoseconds() if request.HasField("since_time") else None
        silence_s = request.heartbeat_interval.ToNanoseconds() / 1e9 or _HEARTBEAT_S
        clock = self._runtime.context.clock
        sequence = 0
        with self._runtime.working():
            async with aclosing(_with_silences(self._broker.events(since), silence_s)) as events:
                async for event in events:
                    sequence += 1
                    message = messages.StreamOrderEventsResponse(sequence=sequence)
                    if event is not None:
                        told = event_to_proto(event)
                        told.receive_time.FromNanoseconds(clock.time_ns())
                        message.events.append(told)
                    await rpc.write(message)

    async def ListInstruments(self, request: messages.ListInstrumentsRequest, rpc: Rpc) -> None:
        """Stream what the account may trade, in pages."""
        pages = _InstrumentPages(request.batch_size or _BATCH_INSTRUMENTS)
        with self._runtime.working():
            async with aclosing(self._broker.instruments()) as items:
                async for item in items:
                    for one in item if isinstance(item, list | tuple) else (item,):
                        if full := pages.add(one):
                            await rpc.write(full)
            if rest := pages.rest():
                await rpc.write(rest)


async def _with_silences(
    events: AsyncIterator[BrokerEvent], silence_s: float
) -> AsyncGenerator[BrokerEvent | None, None]:
    """Yield events, and None after each silence. They are read in a task of their own: a wait for one is never cut."""
    read: asyncio.Queue[BrokerEvent | None] = asyncio.Queue(1)  # None: no more

    async def feed() -> None:
        try:
            async with aclosing(events) as following:  # type: ignore[type-var]  # what authors write is a generator
                async for event in following:
                    await read.put(event)
        finally:
            if not reading.cancelling():
                await read.put(None)

    reading = asyncio.create_task(feed())
    try:
        while True:
            try:
                async with asyncio.timeout(silence_s):
                    event = await read.get()
            except TimeoutError:
                yield None
                continue
            if event is None:
                await reading  # raises what the author's code raised
                return
            yield event
    finally:
        reading.cancel()
        await asyncio.wait([reading])


class _InstrumentPages:
    """Gathers what a broker lists into messages."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._page = messages.ListInstrumentsResponse()
        self._errors = 0

    def add(self, item: object) -> messages.ListInstrumentsResponse | None:
        """Take one row, and return a message when it is full."""
        if isinstance(item, Instrument):
            self._page.instruments.append(instrument_to_proto(item))
        elif isinstance(item, RejectedRow):
            self._errors += 1
            if self._errors <= _MOST_ERRORS:
                self._page.errors.append(f"{item.symbol}: {item.detail}" if item.symbol else item.detail)
        else:
            raise TypeError(f"instruments must yield Instrument or RejectedRow, was {type(item).__name__}")
        return self.rest() if len(self._page.instruments) >= self._size else None

    def rest(self) -> messages.ListInstrumentsResponse | None:
        """Return what was gathered since the message before."""
        page, self._page = self._page, messages.ListInstrumentsResponse()
        page.error_count = self._errors
        return page if page.instruments or page.error_count else None
