"""Changes of orders that work: the terms they lead to, and why they are refused. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from quasar.errors import EtagMismatch, FailedPrecondition, Resource
from quasar.model.instants import from_ns
from quasar.model.order_states import OrderStatus
from quasar.model.orders import OrderChange, OrderSpec
from strategy_engine.policy.decision import Check, Decision
from strategy_engine.policy.limits import Scope, ScopeKind
from strategy_engine.policy.standing import ZERO
from strategy_engine.trading.orders import Document, StoredOrder

_WORKING = frozenset({OrderStatus.ACCEPTED, OrderStatus.TRIGGERED, OrderStatus.PARTIALLY_FILLED})


def require_changeable(order: StoredOrder, revision: int = 0) -> None:
    """Refuse to change an order that does not work, or that has changed since it was read.

    Raises:
        FailedPrecondition: It is final, held with its entry, or its end is under way.
        EtagMismatch: Its revision is another.
    """
    resource = Resource("order", order.client_order_id)
    if order.status not in _WORKING:
        raise FailedPrecondition(
            f"order {order.client_order_id} must work to be changed, was {order.status.value}.",
            resource=resource,
            metadata={"status": order.status.value},
        )
    if revision and revision != order.revision:
        raise EtagMismatch(resource=resource, metadata={"revision": str(order.revision)})


def changed(spec: OrderSpec, change: OrderChange) -> OrderSpec:
    """Return the terms after a change; what the change leaves out stays."""
    names = ("quantity", "limit_price", "trigger_price", "expire_time_ns")
    return replace(spec, **{name: value for name in names if (value := getattr(change, name)) is not None})


def below_filled(order: StoredOrder, wanted: OrderSpec) -> Decision | None:
    """Return the denial of a quantity that is not above what is filled already, else None."""
    if wanted.quantity is None or wanted.quantity > order.filled_quantity:
        return None
    check = Check(
        reason="BELOW_FILLED_QUANTITY",
        passed=False,
        scope=Scope(ScopeKind.ACCOUNT, order.account_id),
        limit=order.filled_quantity,
        value=wanted.quantity,
        unit="units",
        detail=f"quantity must be above the {order.filled_quantity} that are filled, was {wanted.quantity}",
    )
    return Decision(checks=[check], quantity=wanted.quantity, notional=None, position_before=ZERO, position_after=ZERO)


def change_document(change: OrderChange) -> Document:
    """Return the JSON form of the contract's `OrderChange`."""
    found: dict[str, Mapping[str, str] | str] = {}
    for name in ("quantity", "limit_price", "trigger_price"):
        if (value := getattr(change, name)) is not None:
            found[name] = {"value": format(value, "f")}
    if change.expire_time_ns is not None:
        found["expire_time"] = from_ns(change.expire_time_ns).isoformat().replace("+00:00", "Z")
    return found
