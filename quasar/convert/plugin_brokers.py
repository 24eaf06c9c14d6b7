"""Accounts, order names and events of brokers, to and from the contract."""

from __future__ import annotations

from decimal import Decimal

from quasar.broker import BrokerEvent, BrokerOrder, Connected, Disconnected, OrderName
from quasar.convert.plugin_orders import (
    decimal_of,
    decimal_to_proto,
    fill_from_proto,
    fill_to_proto,
    order_from_proto,
    order_to_proto,
    position_from_proto,
    position_to_proto,
    spec_from_proto,
    spec_to_proto,
)
from quasar.errors import InvalidArgument
from quasar.model.orders import AccountBalance, AccountState, Fill, Order, Position
from quasar_proto.plugin.v1 import broker_pb2
from quasar_proto.strategy.v1 import order_pb2


def broker_order_to_proto(order: BrokerOrder) -> broker_pb2.PlaceOrderRequest:
    """Return the request that sends an order."""
    told = order_pb2.Order(
        client_order_id=order.client_order_id, broker_symbol=order.broker_symbol, spec=spec_to_proto(order.spec)
    )
    found = broker_pb2.PlaceOrderRequest(order=told)
    if order.reference_price is not None:
        found.reference_price.CopyFrom(decimal_to_proto(order.reference_price))
    return found


def broker_order_from_proto(found: broker_pb2.PlaceOrderRequest) -> BrokerOrder:
    """Return the order that a request sends."""
    return BrokerOrder(
        client_order_id=found.order.client_order_id,
        broker_symbol=found.order.broker_symbol,
        spec=spec_from_proto(found.order.spec),
        reference_price=decimal_of(found, "reference_price"),
    )


def order_name_to_proto(name: OrderName) -> broker_pb2.BrokerOrderId:
    """Return how an order is named."""
    return broker_pb2.BrokerOrderId(
        client_order_id=name.client_order_id,
        broker_order_id=name.broker_order_id,
        broker_symbol=name.broker_symbol,
    )


def order_name_from_proto(found: broker_pb2.BrokerOrderId) -> OrderName:
    """Return how an order is named."""
    return OrderName(
        client_order_id=found.client_order_id,
        broker_order_id=found.broker_order_id,
        broker_symbol=found.broker_symbol,
    )


def account_to_proto(account: AccountState) -> broker_pb2.BrokerAccount:
    """Return an account as the vendor tells it."""
    found = broker_pb2.BrokerAccount(broker_account_id=account.account_id)
    for balance in account.balances:
        found.balances.add(
            currency=balance.currency,
            total=decimal_to_proto(balance.total),
            locked=decimal_to_proto(balance.locked),
            available=decimal_to_proto(balance.available),
            borrowed=decimal_to_proto(balance.borrowed),
        )
    if account.equity is not None:
        found.equity.CopyFrom(decimal_to_proto(account.equity))
    return found


def account_from_proto(found: broker_pb2.BrokerAccount) -> AccountState:
    """Return an account as the vendor tells it."""
    balances = tuple(
        AccountBalance(
            currency=one.currency,
            total=decimal_of(one, "total") or Decimal(0),
            locked=decimal_of(one, "locked") or Decimal(0),
            borrowed=decimal_of(one, "borrowed") or Decimal(0),
        )
        for one in found.balances
    )
    return AccountState(account_id=found.broker_account_id, balances=balances, equity=decimal_of(found, "equity"))


def event_to_proto(event: BrokerEvent) -> broker_pb2.BrokerEvent:
    """Return one thing that happened.

    Raises:
        InvalidArgument: It is none of what a broker may tell.
    """
    found = broker_pb2.BrokerEvent()
    if isinstance(event, Order):
        found.order.CopyFrom(order_to_proto(event))
    elif isinstance(event, Fill):
        found.fill.fill.CopyFrom(fill_to_proto(event))
    elif isinstance(event, Position):
        found.position.CopyFrom(position_to_proto(event))
    elif isinstance(event, AccountState):
        found.account.CopyFrom(account_to_proto(event))
    elif isinstance(event, Connected):
        found.connected.connection = event.connection
    elif isinstance(event, Disconnected):
        found.disconnected.error.message = event.reason
    else:
        raise InvalidArgument(f"events must yield orders, fills, positions or accounts, was {type(event).__name__}")
    return found


def event_from_proto(found: broker_pb2.BrokerEvent) -> BrokerEvent | None:
    """Return one thing that happened; None for what a newer contract adds."""
    kind = found.WhichOneof("event")
    if kind == "order":
        return order_from_proto(found.order)
    if kind == "fill":
        return fill_from_proto(found.fill.fill)
    if kind == "position":
        return position_from_proto(found.position)
    if kind == "account":
        return account_from_proto(found.account)
    if kind == "connected":
        return Connected(found.connected.connection)
    return Disconnected(found.disconnected.error.message) if kind == "disconnected" else None
