"""Orders, fills, positions and denials between values, messages and the JSON forms that are stored."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from google.protobuf import any_pb2

from quasar.convert.plugin_orders import number_of as order_number
from quasar.convert.plugin_orders import spec_from_proto, spec_to_proto
from quasar.model.orders import OrderSpec
from quasar.ops.actors import Actor
from quasar.ops.events import Event
from quasar.ops.operations import OperationResult
from quasar.rpc.ops.actors import actor_message
from quasar.rpc.wellknown import timestamp, timestamp_ns
from quasar_proto.strategy.v1 import denial_pb2, order_pb2, trading_pb2
from strategy_engine.rpc.values import decimal_message, document, message_of, money_message, number_of
from strategy_engine.trading.orders import Held, StoredFill, StoredOrder


def order_message(order: StoredOrder) -> order_pb2.Order:
    """Return an order as a message."""
    return order_pb2.Order(
        client_order_id=order.client_order_id,
        broker_order_id=order.client_order_id if order.submit_time else "",
        account_id=order.account_id,
        broker=order.broker,
        instance_id=order.instance_id,
        run_id=str(order.run_id or ""),
        intent_number=order.intent_number,
        origin=number_of(order_pb2.OrderOrigin, order.origin, "ORDER_ORIGIN_"),
        spec=spec_to_proto(order.spec),
        broker_symbol=order.spec.symbol,
        currency=order.currency,
        status=order_number("OrderStatus", order.status),  # type: ignore[arg-type]  # enum values travel as integers
        status_text=order.status_text,
        denials=[message_of(each, denial_pb2.Denial) for each in order.denials],
        filled_quantity=decimal_message(order.filled_quantity),
        remaining_quantity=decimal_message(order.remaining),
        average_fill_price=decimal_message(order.average_fill_price),
        parent_client_order_id=order.parent_client_order_id,
        reference_price=decimal_message(order.reference_price),
        decide_time=timestamp(order.decide_time),
        create_time=timestamp(order.create_time),
        submit_time=timestamp(order.submit_time),
        accept_time=timestamp(order.accept_time),
        update_time=timestamp(order.update_time),
        final_time=timestamp(order.final_time),
        revision=order.revision,
        actor=actor_message(order.actor),
    )


def fill_message(stored: StoredFill) -> order_pb2.Fill:
    """Return a fill as a message."""
    fill = stored.fill
    return order_pb2.Fill(
        fill_id=fill.fill_id,
        broker_fill_id=fill.broker_fill_id,
        client_order_id=fill.client_order_id,
        account_id=stored.account_id,
        instance_id=stored.instance_id,
        run_id=str(stored.run_id or ""),
        symbol=fill.symbol,
        side=order_number("OrderSide", fill.side),  # type: ignore[arg-type]  # enum values travel as integers
        quantity=decimal_message(fill.quantity),
        price=decimal_message(fill.price),
        currency=fill.currency,
        commission=money_message(fill.commission, fill.currency),
        liquidity_side=order_number("LiquiditySide", fill.liquidity_side),  # type: ignore[arg-type]  # see above
        fill_time=timestamp_ns(fill.fill_time_ns),
        receive_time=timestamp(stored.receive_time),
        position_after=decimal_message(fill.position_after),
        realised_pnl=decimal_message(stored.realised_pnl),
        tag=fill.tag,
    )


def position_message(
    held: Held, orders: Mapping[tuple[str, str, str, str], Decimal] | None = None
) -> order_pb2.Position:
    """Return a position as a message; `orders` holds what open orders of each side would trade, by owner and symbol."""
    key = (held.account_id, held.instance_id, held.symbol)
    waiting = orders or {}
    return order_pb2.Position(
        account_id=held.account_id,
        instance_id=held.instance_id,
        symbol=held.symbol,
        broker_symbol=held.symbol,
        currency=held.currency,
        quantity=decimal_message(held.quantity),
        average_price=decimal_message(held.average_price),
        mark_price=decimal_message(held.mark_price),
        mark_time=timestamp(held.mark_time),
        market_value=decimal_message(held.market_value),
        unrealised_pnl=decimal_message(held.unrealised_pnl),
        realised_pnl=decimal_message(held.realised_pnl),
        commission=decimal_message(held.commission),
        multiplier=decimal_message(held.multiplier),
        open_buy_quantity=decimal_message(waiting.get((*key, "BUY"))),
        open_sell_quantity=decimal_message(waiting.get((*key, "SELL"))),
        open_time=timestamp(held.open_time),
        update_time=timestamp(held.update_time),
        revision=held.revision,
    )


class OrderDocuments:
    """Implements `strategy_engine.trading.orders.Documents` with the messages of the contract."""

    def spec(self, spec: OrderSpec) -> Mapping[str, Any]:
        """Return an order's terms."""
        return document(spec_to_proto(spec))

    def read_spec(self, found: Mapping[str, Any]) -> OrderSpec:
        """Return the terms that a document holds."""
        return spec_from_proto(message_of(found, order_pb2.OrderSpec))

    def order(self, order: StoredOrder) -> Mapping[str, Any]:
        """Return an order."""
        return document(order_message(order))

    def fill(self, fill: StoredFill) -> Mapping[str, Any]:
        """Return a fill."""
        return document(fill_message(fill))

    def position(self, held: Held) -> Mapping[str, Any]:
        """Return a position."""
        return document(position_message(held))


def order_event_message(client_order_id: str, row: Any) -> trading_pb2.OrderEvent:
    """Return a step of an order as a message."""
    data = row["data"]
    event = trading_pb2.OrderEvent(
        client_order_id=client_order_id,
        revision=data.get("revision", 0),
        former_status=number_of(order_pb2.OrderStatus, data.get("former_status", ""), "ORDER_STATUS_"),
        status=number_of(order_pb2.OrderStatus, data.get("status", ""), "ORDER_STATUS_"),
        kind=row["kind"],
        text=row["message"],
        record_time=timestamp(row["time"]),
    )
    if "event_time" in data:
        event.event_time.FromDatetime(dt.datetime.fromisoformat(data["event_time"]).astimezone(dt.UTC))
    if data.get("fill"):
        event.fill.CopyFrom(message_of(data["fill"], order_pb2.Fill))
    if data.get("change"):
        event.change.CopyFrom(message_of(data["change"], order_pb2.OrderChange))
    if (actor := Actor.of(row["actor"], row["role"], "")) is not None:
        event.actor.CopyFrom(actor_message(actor))  # type: ignore[arg-type]  # it is set
    return event


def event_row(event: Event) -> Mapping[str, Any]:
    """Return an event as the row in which it is stored."""
    return {
        "kind": event.kind,
        "message": event.message,
        "time": event.time,
        "data": event.data,
        "actor": event.actor.principal if event.actor else "",
        "role": event.actor.role.word if event.actor else "",
    }


def flatten_result(summary: Mapping[str, Any]) -> OperationResult:
    """Return what came of closing positions as the result of its operation."""
    packed = any_pb2.Any()
    packed.Pack(message_of(summary, trading_pb2.FlattenResult))
    return OperationResult(summary, packed.type_url, packed.value)
