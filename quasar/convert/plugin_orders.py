"""Orders, fills, positions and intents to and from the contract, as far as plug-ins see them."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from quasar import errors
from quasar.engine.live import OrderUpdate
from quasar.model.order_states import OrderStatus
from quasar.model.orders import (
    Bracket,
    BracketLeg,
    CancelAllIntent,
    CancelIntent,
    Contingency,
    Fill,
    LiquiditySide,
    Order,
    OrderChange,
    OrderIntent,
    OrderSide,
    OrderSpec,
    OrderTarget,
    OrderType,
    PlaceIntent,
    Position,
    ReplaceIntent,
    TimeInForce,
)
from quasar_proto.common.v1 import values_pb2
from quasar_proto.strategy.v1 import order_pb2

Member = TypeVar("Member", bound=Enum)


def decimal_to_proto(value: Decimal) -> values_pb2.Decimal:
    """Return the plain form."""
    return values_pb2.Decimal(value=format(value, "f"))


def decimal_of(message: Any, field: str) -> Decimal | None:
    """Return a decimal field of a message; None when it is absent."""
    return Decimal(getattr(message, field).value) if message.HasField(field) else None


def time_to_proto(time_ns: int) -> Timestamp:
    """Return nanoseconds UTC as a timestamp."""
    found = Timestamp()
    found.FromNanoseconds(time_ns)
    return found


def number_of(prefix: str, member: Enum | None) -> int:
    """Return the number of an enum's member, whose names are those of the contract; 0 for None."""
    if member is None:
        return 0
    return int(
        order_pb2.DESCRIPTOR.enum_types_by_name[prefix].values_by_name[f"{_upper(prefix)}_{member.value}"].number
    )


def member_of(kind: type[Member], prefix: str, number: int) -> Member | None:
    """Return the member of a number; None for UNSPECIFIED and for numbers of a newer contract."""
    value = order_pb2.DESCRIPTOR.enum_types_by_name[prefix].values_by_number.get(number)
    name = value.name.removeprefix(f"{_upper(prefix)}_") if value is not None else ""
    return next((member for member in kind if member.value == name), None)


def _upper(name: str) -> str:
    return "".join(f"_{letter}" if letter.isupper() else letter for letter in name).lstrip("_").upper()


_SPEC_DECIMALS = ("quantity", "notional", "limit_price", "trigger_price", "trailing_offset", "trailing_ratio")
_LEG_DECIMALS = ("price", "offset", "offset_ratio", "limit_price")


def _set_decimals(message: Any, value: Any, names: tuple[str, ...]) -> None:
    for name in names:
        number = getattr(value, name)
        if number is not None:
            getattr(message, name).CopyFrom(decimal_to_proto(number))


def spec_to_proto(spec: OrderSpec) -> order_pb2.OrderSpec:
    """Return the terms of an order."""
    fields: dict[str, Any] = {
        "side": number_of("OrderSide", spec.side),
        "type": number_of("OrderType", spec.type),
        "time_in_force": number_of("TimeInForce", spec.time_in_force),
        "group_contingency": number_of("Contingency", spec.group_contingency),
    }
    found = order_pb2.OrderSpec(
        symbol=spec.symbol,
        reduce_only=spec.reduce_only,
        post_only=spec.post_only,
        group=spec.group,
        tag=spec.tag,
        **fields,
    )
    _set_decimals(found, spec, _SPEC_DECIMALS)
    if spec.expire_time_ns is not None:
        found.expire_time.CopyFrom(time_to_proto(spec.expire_time_ns))
    if spec.bracket is not None:
        for name in ("stop_loss", "take_profit"):
            leg: BracketLeg | None = getattr(spec.bracket, name)
            if leg is not None:
                told = getattr(found.bracket, name)
                told.trailing = leg.trailing
                _set_decimals(told, leg, _LEG_DECIMALS)
        found.bracket.exit_time_in_force = number_of("TimeInForce", spec.bracket.exit_time_in_force)  # type: ignore[assignment]
    return found


def spec_from_proto(found: order_pb2.OrderSpec) -> OrderSpec:
    """Return the terms of an order.

    Raises:
        InvalidArgument: Side or type is not set.
    """
    side = member_of(OrderSide, "OrderSide", found.side)
    kind = member_of(OrderType, "OrderType", found.type)
    if side is None or kind is None:
        raise errors.InvalidArgument(f"side and type must be set, was {found.side} and {found.type}")
    decimals: dict[str, Any] = {name: decimal_of(found, name) for name in _SPEC_DECIMALS}
    return OrderSpec(
        symbol=found.symbol,
        side=side,
        type=kind,
        time_in_force=member_of(TimeInForce, "TimeInForce", found.time_in_force) or TimeInForce.GTC,
        expire_time_ns=found.expire_time.ToNanoseconds() if found.HasField("expire_time") else None,
        reduce_only=found.reduce_only,
        post_only=found.post_only,
        bracket=_bracket(found.bracket) if found.HasField("bracket") else None,
        group=found.group,
        group_contingency=member_of(Contingency, "Contingency", found.group_contingency),
        tag=found.tag,
        **decimals,
    )


def _bracket(found: order_pb2.Bracket) -> Bracket:
    return Bracket(
        stop_loss=_leg(found.stop_loss) if found.HasField("stop_loss") else None,
        take_profit=_leg(found.take_profit) if found.HasField("take_profit") else None,
        exit_time_in_force=member_of(TimeInForce, "TimeInForce", found.exit_time_in_force) or TimeInForce.GTC,
    )


def _leg(found: order_pb2.BracketLeg) -> BracketLeg:
    decimals: dict[str, Any] = {name: decimal_of(found, name) for name in _LEG_DECIMALS}
    return BracketLeg(trailing=found.trailing, **decimals)


def order_to_proto(order: Order) -> order_pb2.Order:
    """Return an order as it stands; the leg of a bracket is joined with "-", as the contract wants ids."""
    fields: dict[str, Any] = {"status": number_of("OrderStatus", order.status)}
    found = order_pb2.Order(
        client_order_id=order.client_order_id.replace("/", "-"),
        broker_order_id=order.broker_order_id,
        intent_number=order.intent_number,
        spec=spec_to_proto(order.spec),
        status_text=order.status_text,
        filled_quantity=decimal_to_proto(order.filled_quantity),
        remaining_quantity=decimal_to_proto(order.remaining_quantity),
        parent_client_order_id=order.parent_client_order_id.replace("/", "-"),
        **fields,
    )
    if order.average_fill_price is not None:
        found.average_fill_price.CopyFrom(decimal_to_proto(order.average_fill_price))
    return found


def order_from_proto(found: order_pb2.Order) -> Order:
    """Return an order as it stands.

    Raises:
        InvalidArgument: Its side, type or status is not set.
    """
    status = member_of(OrderStatus, "OrderStatus", found.status)
    if status is None:
        raise errors.InvalidArgument(f"status must be set, was {found.status}")
    return Order(
        client_order_id=found.client_order_id,
        broker_order_id=found.broker_order_id,
        spec=spec_from_proto(found.spec),
        status=status,
        intent_number=found.intent_number,
        status_text=found.status_text,
        filled_quantity=decimal_of(found, "filled_quantity") or Decimal(0),
        average_fill_price=decimal_of(found, "average_fill_price"),
        parent_client_order_id=found.parent_client_order_id,
    )


def update_from_proto(found: order_pb2.Order, leg: int) -> OrderUpdate:
    """Return what an order of the contract tells a running strategy."""
    status = member_of(OrderStatus, "OrderStatus", found.status)
    if status is None:
        raise errors.InvalidArgument(f"status must be set, was {found.status}")
    text = found.status_text or "; ".join(denial.detail for denial in found.denials)
    return OrderUpdate(
        intent_number=found.intent_number,
        leg=leg,
        status=status,
        text=text,
        quantity=decimal_of(found.spec, "quantity"),
        limit_price=decimal_of(found.spec, "limit_price"),
        trigger_price=decimal_of(found.spec, "trigger_price"),
    )


def fill_to_proto(fill: Fill) -> order_pb2.Fill:
    """Return an execution."""
    fields: dict[str, Any] = {
        "side": number_of("OrderSide", fill.side),
        "liquidity_side": number_of("LiquiditySide", fill.liquidity_side),
    }
    found = order_pb2.Fill(
        fill_id=fill.fill_id,
        broker_fill_id=fill.broker_fill_id,
        client_order_id=fill.client_order_id.replace("/", "-"),
        symbol=fill.symbol,
        quantity=decimal_to_proto(fill.quantity),
        price=decimal_to_proto(fill.price),
        currency=fill.currency,
        commission=values_pb2.Money(amount=decimal_to_proto(fill.commission), currency=fill.currency),
        fill_time=time_to_proto(fill.fill_time_ns),
        tag=fill.tag,
        **fields,
    )
    if fill.position_after is not None:
        found.position_after.CopyFrom(decimal_to_proto(fill.position_after))
    if fill.bar_index is not None and fill.bar_index >= 0:
        found.bar_index = fill.bar_index
    return found


def fill_from_proto(found: order_pb2.Fill) -> Fill:
    """Return an execution.

    Raises:
        InvalidArgument: Its side is not set.
    """
    side = member_of(OrderSide, "OrderSide", found.side)
    if side is None:
        raise errors.InvalidArgument(f"side must be set, was {found.side}")
    return Fill(
        fill_id=found.fill_id,
        broker_fill_id=found.broker_fill_id,
        client_order_id=found.client_order_id,
        symbol=found.symbol,
        side=side,
        quantity=decimal_of(found, "quantity") or Decimal(0),
        price=decimal_of(found, "price") or Decimal(0),
        commission=decimal_of(found.commission, "amount") or Decimal(0),
        fill_time_ns=found.fill_time.ToNanoseconds(),
        currency=found.currency,
        liquidity_side=member_of(LiquiditySide, "LiquiditySide", found.liquidity_side),
        position_after=decimal_of(found, "position_after"),
        tag=found.tag,
    )


def position_to_proto(position: Position) -> order_pb2.Position:
    """Return what is held."""
    found = order_pb2.Position(
        symbol=position.symbol,
        currency=position.currency,
        quantity=decimal_to_proto(position.quantity),
        multiplier=decimal_to_proto(position.multiplier),
    )
    _set_decimals(found, position, ("average_price", "mark_price"))
    return found


def position_from_proto(found: order_pb2.Position) -> Position:
    """Return what is held."""
    return Position(
        symbol=found.symbol,
        quantity=decimal_of(found, "quantity") or Decimal(0),
        average_price=decimal_of(found, "average_price"),
        mark_price=decimal_of(found, "mark_price"),
        currency=found.currency,
        multiplier=decimal_of(found, "multiplier") or Decimal(1),
    )


def intent_to_proto(intent: OrderIntent) -> order_pb2.OrderIntent:
    """Return what a strategy asks for."""
    found = order_pb2.OrderIntent(intent_number=intent.intent_number, decide_time=time_to_proto(intent.decide_time_ns))
    action = intent.action
    if isinstance(action, PlaceIntent):
        found.place.order.CopyFrom(spec_to_proto(action.order))
    elif isinstance(action, CancelIntent):
        found.cancel.target.CopyFrom(_target_to_proto(action.target))
    elif isinstance(action, CancelAllIntent):
        found.cancel_all.symbol = action.symbol
    else:
        found.replace.target.CopyFrom(_target_to_proto(action.target))
        found.replace.change.CopyFrom(change_to_proto(action.change))
    return found


def change_to_proto(change: OrderChange) -> order_pb2.OrderChange:
    """Return new terms of an order."""
    found = order_pb2.OrderChange()
    _set_decimals(found, change, ("quantity", "limit_price", "trigger_price"))
    if change.expire_time_ns is not None:
        found.expire_time.CopyFrom(time_to_proto(change.expire_time_ns))
    return found


def _target_to_proto(target: OrderTarget) -> order_pb2.OrderTarget:
    return order_pb2.OrderTarget(intent_number=target.intent_number, leg=target.leg)


def intent_from_proto(found: order_pb2.OrderIntent) -> OrderIntent:
    """Return what a strategy asks for.

    Raises:
        InvalidArgument: It asks for nothing that is known.
    """
    action = found.WhichOneof("action")
    read = _ACTIONS.get(action or "")
    if read is None:
        raise errors.InvalidArgument(f"action must be place, cancel, cancel_all or replace, was {action}")
    return OrderIntent(
        intent_number=found.intent_number, decide_time_ns=found.decide_time.ToNanoseconds(), action=read(found)
    )


def change_from_proto(found: order_pb2.OrderChange) -> OrderChange:
    """Return new terms of an order."""
    return OrderChange(
        quantity=decimal_of(found, "quantity"),
        limit_price=decimal_of(found, "limit_price"),
        trigger_price=decimal_of(found, "trigger_price"),
        expire_time_ns=found.expire_time.ToNanoseconds() if found.HasField("expire_time") else None,
    )


def _target_from_proto(found: order_pb2.OrderTarget) -> OrderTarget:
    return OrderTarget(found.intent_number, found.leg)


_ACTIONS: dict[str, Any] = {
    "place": lambda found: PlaceIntent(spec_from_proto(found.place.order)),
    "cancel": lambda found: CancelIntent(_target_from_proto(found.cancel.target)),
    "cancel_all": lambda found: CancelAllIntent(found.cancel_all.symbol),
    "replace": lambda found: ReplaceIntent(
        _target_from_proto(found.replace.target), change_from_proto(found.replace.change)
    ),
}
