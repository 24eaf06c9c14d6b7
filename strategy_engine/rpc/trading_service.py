"""`quasar.strategy.v1.TradingService` over `strategy_engine.trading`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from quasar.clock import Clock
from quasar.convert.plugin_orders import change_from_proto, member_of, spec_from_proto
from quasar.convert.plugin_orders import number_of as order_number
from quasar.errors import (
    FailedPrecondition,
    NotFound,
    Resource,
)
from quasar.model.order_states import OrderStatus
from quasar.model.orders import OrderSide
from quasar.ops.events import Event, Events
from quasar.rpc.ops.actors import calling_actor
from quasar.rpc.ops.operation_service import operation_message
from quasar.rpc.ops.streams import until_drained
from quasar.rpc.wellknown import seconds, timestamp
from quasar_proto.strategy.v1 import order_pb2, trading_service_pb2_grpc
from quasar_proto.strategy.v1 import trading_service_pb2 as pb
from strategy_engine.rpc.account_calls import AccountCalls
from strategy_engine.rpc.account_messages import PAPER, broker_message, instrument_rules
from strategy_engine.rpc.broker_code import BrokerCode
from strategy_engine.rpc.order_messages import (
    event_row,
    fill_message,
    order_event_message,
    order_message,
    position_message,
)
from strategy_engine.rpc.policy_messages import decision_message
from strategy_engine.rpc.values import message_of
from strategy_engine.store.pages import Asked
from strategy_engine.trading.changes import require_changeable
from strategy_engine.trading.denials import denial_document, denied
from strategy_engine.trading.desk import TradingDesk
from strategy_engine.trading.flattening import Flattener, Flattening, manual_order_id
from strategy_engine.trading.orders import NewOrder, StoredOrder
from strategy_engine.trading.survey import Survey
from strategy_engine.trading.treasury import Treasury

_HEARTBEAT_S = 10.0


class TradingService(AccountCalls, trading_service_pb2_grpc.TradingServiceServicer):
    """Places and shows orders, and keeps paper accounts."""

    def __init__(
        self,
        desk: TradingDesk,
        survey: Survey,
        flattener: Flattener,
        events: Events,
        draining: asyncio.Event,
        clock: Clock,
        broker_code: BrokerCode,
        treasury: Treasury,
        new_id: Callable[[], uuid.UUID] = uuid.uuid4,
    ) -> None:
        """Serve what passes `desk`."""
        super().__init__(treasury, survey, desk.records, events, clock)
        self._broker_code = broker_code
        self._desk = desk
        self._flattener = flattener
        self._draining = draining
        self._new_id = new_id

    async def PlaceOrder(self, request: pb.PlaceOrderRequest, context: Any) -> pb.PlaceOrderResponse:
        """Place an order through policy; the same request id is the same order, a denied one as well."""
        actor, spec = calling_actor(), spec_from_proto(request.order)
        await self._survey.require_owner(request.account_id, request.instance_id)
        if request.validate_only:
            decision, proposal = await self._desk.judge(request.account_id, request.instance_id, spec)
            return pb.PlaceOrderResponse(decision=decision_message(decision, proposal, self._clock.now()))
        new = NewOrder(
            client_order_id=manual_order_id(request.account_id, request.request_id),
            account_id=request.account_id,
            instance_id=request.instance_id,
            spec=spec,
            origin="MANUAL",
            decide_time=self._clock.now(),
            actor=actor,
        )
        placed = await self._desk.place(new)
        if placed.order.denials:
            raise denied(placed.order, placed.order.denials)
        answer = pb.PlaceOrderResponse(
            order=order_message(placed.order), bracket_orders=[order_message(each) for each in placed.exits]
        )
        if placed.decision is not None and placed.proposal is not None:
            answer.decision.CopyFrom(decision_message(placed.decision, placed.proposal, self._clock.now()))
        answer.decision.allowed = True
        return answer

    async def CancelOrder(self, request: pb.CancelOrderRequest, context: Any) -> pb.CancelOrderResponse:
        """Cancel an order; one that was cancelled before stays as it is."""
        former = await self._records.orders.get(request.client_order_id)
        if former.status.is_final and former.status is not OrderStatus.CANCELLED:
            raise FailedPrecondition(
                f"order {former.client_order_id} must be open to be cancelled, was {former.status.value}.",
                resource=Resource("order", former.client_order_id),
            )
        actor = calling_actor()
        order = await self._desk.cancel(request.client_order_id, actor=actor, reason=request.reason)
        return pb.CancelOrderResponse(order=order_message(order))

    async def CancelAllOrders(self, request: pb.CancelAllOrdersRequest, context: Any) -> pb.CancelAllOrdersResponse:
        """Cancel the open orders that fit."""
        await self._survey.require_owner(request.account_id, request.instance_id)
        wanted: dict[str, Any] = {
            "account_id": request.account_id,
            "instance_id": request.instance_id,
            "symbol": request.symbol,
            "side": member_of(OrderSide, "OrderSide", request.side),
        }
        if request.validate_only:
            orders = await self._desk.open_orders(**wanted)
        else:
            orders = await self._desk.cancel_all(**wanted, actor=calling_actor(), reason=request.reason)
        return pb.CancelAllOrdersResponse(outcomes=[_outcome(order) for order in orders])

    async def ReplaceOrder(self, request: pb.ReplaceOrderRequest, context: Any) -> pb.ReplaceOrderResponse:
        """Change the terms of an order that works, in its place in the book; a denied one stays as it was."""
        actor, change = calling_actor(), change_from_proto(request.change)
        if request.validate_only:
            order = await self._records.orders.get(request.client_order_id)
            require_changeable(order, request.revision)
            decision, proposal = await self._desk.judge_change(order, change)
            return pb.ReplaceOrderResponse(
                order=order_message(order), decision=decision_message(decision, proposal, self._clock.now())
            )
        order, made = await self._desk.change(
            request.client_order_id, change, revision=request.revision, request_id=request.request_id, actor=actor
        )
        if made is not None and not made.allowed:
            denials = [denial_document(check, self._clock.now()) for check in made.denials]
            raise denied(order, denials, "A change of the order")
        answer = pb.ReplaceOrderResponse(order=order_message(order))
        answer.decision.allowed = True
        return answer

    async def GetOrder(self, request: pb.GetOrderRequest, context: Any) -> pb.GetOrderResponse:
        """Return one order with its fills."""
        order = await self._records.orders.get(request.client_order_id)
        fills = await self._records.orders.fills_of(request.client_order_id)
        return pb.GetOrderResponse(order=order_message(order), fills=[fill_message(each) for each in fills])

    async def ListOrders(self, request: pb.ListOrdersRequest, context: Any) -> pb.ListOrdersResponse:
        """Return a page of orders."""
        found, following = await self._records.orders.page(Asked.of(request))
        return pb.ListOrdersResponse(orders=[order_message(each) for each in found], next_page_token=following)

    async def ListOrderEvents(self, request: pb.ListOrderEventsRequest, context: Any) -> pb.ListOrderEventsResponse:
        """Return a page of the steps of an order, oldest first."""
        name = request.client_order_id
        await self._records.orders.get(name)
        rows, following = await self._records.orders.order_events(name, request.page_size, request.page_token)
        return pb.ListOrderEventsResponse(
            events=[order_event_message(name, row) for row in rows], next_page_token=following
        )

    async def ListFills(self, request: pb.ListFillsRequest, context: Any) -> pb.ListFillsResponse:
        """Return a page of fills."""
        found, following = await self._records.orders.fills(Asked.of(request))
        return pb.ListFillsResponse(fills=[fill_message(each) for each in found], next_page_token=following)

    async def WatchOrders(
        self, request: pb.WatchOrdersRequest, context: Any
    ) -> AsyncGenerator[pb.WatchOrdersResponse, None]:
        """Stream the open orders, then every change of an order."""
        async with aclosing(until_drained(self._changes(request), self._draining)) as messages:
            async for message in messages:
                yield message

    async def _changes(self, request: pb.WatchOrdersRequest) -> AsyncGenerator[pb.WatchOrdersResponse, None]:
        heartbeat_s = seconds(request.heartbeat_interval) if request.HasField("heartbeat_interval") else _HEARTBEAT_S
        watching = self._events.watch(
            filter_text='subject_type = "order"', cursor=request.cursor, heartbeat_s=heartbeat_s
        )
        await self._survey.require_owner(request.account_id, request.instance_id)
        first = not request.cursor
        async with aclosing(watching) as batches:
            async for batch in batches:
                if first:
                    # The cursor is from before the snapshot, so that nothing between the two is lost.
                    orders = await self._records.orders.open()
                    updates = [pb.OrderUpdate(order=order_message(each)) for each in orders if _fits(each, request)]
                else:
                    updates = [await self._update(event) for event in batch.events if _concerns(event, request)]
                yield pb.WatchOrdersResponse(
                    updates=updates, snapshot=first, cursor=batch.cursor, time=timestamp(self._clock.now())
                )
                first = False

    async def _update(self, event: Event) -> pb.OrderUpdate:
        """Return one step of one order, with the order as it was after it."""
        told = order_event_message(event.subject_name, event_row(event))
        document = event.data.get("payload")
        if document:
            order = message_of(document, order_pb2.Order)
        else:  # a wish about the order, which changes nothing by itself
            order = order_message(await self._records.orders.get(event.subject_name))
        return pb.OrderUpdate(order=order, event=told)

    async def GetInstrumentRules(
        self, request: pb.GetInstrumentRulesRequest, context: Any
    ) -> pb.GetInstrumentRulesResponse:
        """Return what orders of an instrument must keep to."""
        account = await self._records.accounts.get(request.account_id)
        quote = await self._desk.quote(request.symbol)
        return pb.GetInstrumentRulesResponse(rules=instrument_rules(request.symbol, quote, account))

    async def ListBrokers(self, request: pb.ListBrokersRequest, context: Any) -> pb.ListBrokersResponse:
        """Return the brokers: the paper broker of the platform."""
        accounts = [each.account_id for each in await self._records.accounts.all()]
        return pb.ListBrokersResponse(brokers=[broker_message(accounts)])

    async def GetBroker(self, request: pb.GetBrokerRequest, context: Any) -> pb.GetBrokerResponse:
        """Return one broker."""
        if request.name.lower() != PAPER.lower():
            raise NotFound(
                f"There must be a broker {request.name!r}, was none; brokers are: {PAPER}.",
                resource=Resource("broker", request.name),
            )
        accounts = [each.account_id for each in await self._records.accounts.all()]
        return pb.GetBrokerResponse(broker=broker_message(accounts))

    async def ValidateBroker(self, request: pb.ValidateBrokerRequest, context: Any) -> pb.ValidateBrokerResponse:
        """Read a file of a broker, then try it out in the jail."""
        return await self._broker_code.validate(request)

    async def ListBrokerInstruments(
        self, request: pb.ListBrokerInstrumentsRequest, context: Any
    ) -> AsyncGenerator[pb.ListBrokerInstrumentsResponse, None]:
        """Stream what a broker trades."""
        async with aclosing(self._broker_code.instruments(request)) as answers:
            async for answer in answers:
                yield answer

    async def FlattenPositions(self, request: pb.FlattenPositionsRequest, context: Any) -> pb.FlattenPositionsResponse:
        """Close positions: with `validate_only` say what would be done, with its token do it as an operation."""
        actor = calling_actor()
        asked = Flattening(
            account_id=request.account_id,
            instance_id=request.instance_id,
            symbol=request.symbol,
            halt=request.halt,
        )
        await self._survey.require_owner(request.account_id, request.instance_id)
        held, orders = await self._flattener.concerned(asked)
        answer = pb.FlattenPositionsResponse(
            positions=[position_message(each) for each in held],
            client_order_ids=[each.client_order_id for each in orders],
        )
        if request.validate_only:
            answer.confirm_token = self._flattener.token(asked, held, actor)
            return answer
        begun = await self._flattener.begin(asked, request.confirm_token, request.reason, actor)
        answer.operation.CopyFrom(operation_message(begun))
        return answer


def _fits(order: StoredOrder, request: pb.WatchOrdersRequest) -> bool:
    return (
        request.account_id in ("", order.account_id)
        and request.instance_id in ("", order.instance_id)
        and request.symbol in ("", order.spec.symbol)
    )


def _concerns(event: Event, request: pb.WatchOrdersRequest) -> bool:
    return all(
        getattr(request, name) in ("", event.data.get(name, "")) for name in ("account_id", "instance_id", "symbol")
    )


def _outcome(order: StoredOrder) -> pb.CancelOutcome:
    return pb.CancelOutcome(
        client_order_id=order.client_order_id,
        status=order_number("OrderStatus", order.status),  # type: ignore[arg-type]  # enum values travel as integers
    )
