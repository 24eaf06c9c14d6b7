"""Denials as clients see them: documents of the contract, and the error that answers a denied order."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from quasar.errors import PolicyDenied, Resource
from strategy_engine.policy.decision import Check
from strategy_engine.trading.orders import Document, StoredOrder

_MOST_BYTES: Final = 2500
"""Of denials in one error: clients take a few kilobytes of trailing metadata. GetOrder returns all of them."""


def denial_document(check: Check, time: dt.datetime) -> dict[str, object]:
    """Return the JSON form of the contract's `Denial`."""
    found: dict[str, object] = {
        "reason": f"DENIAL_REASON_{check.reason}",
        "scope": {"kind": f"SCOPE_KIND_{check.scope.kind.value}", "id": check.scope.id},
        "policy_id": check.policy_id,
        "unit": check.unit,
        "detail": check.detail,
        "time": time.isoformat().replace("+00:00", "Z"),
    }
    for name in ("limit", "value"):
        number = getattr(check, name)
        if number is not None:
            found[name] = {"value": format(number, "f")}
    return found


def denied(order: StoredOrder, denials: Sequence[Document], what: str = "Order") -> PolicyDenied:
    """Return the error that answers an order, or a change of one, that policy denied.

    Its metadata hold `client_order_id`, `reasons` (codes, comma between them), and `denials`: the JSON form of
    `repeated Denial`, the first ones of many. Of the first denial `limit`, `value`, `unit` and `policy_id` stand beside
    them, for people who read.

    Args:
        order: The denied order, or the one that stays as it was.
        denials: Documents of the contract's `Denial`.
        what: Begins the sentence.
    """
    spec = order.spec
    amount = spec.quantity if spec.quantity is not None else spec.notional
    texts = "; ".join(str(each.get("detail") or _code(each)) for each in denials)[:500]
    side = spec.side.value.lower()
    return PolicyDenied(
        f"{what} to {side} {amount} {spec.symbol} was denied by policy: {texts}.",
        resource=Resource("order", order.client_order_id),
        metadata={
            "client_order_id": order.client_order_id,
            "reasons": ",".join(map(_code, denials)),
            "denials": _shortened(denials),
            **_numbers(denials[0]),
        },
    )


def _code(denial: Mapping[str, Any]) -> str:
    return str(denial["reason"]).removeprefix("DENIAL_REASON_")


def _numbers(denial: Mapping[str, Any]) -> dict[str, str]:
    found = {name: str(denial[name]["value"]) for name in ("limit", "value") if name in denial}
    found |= {name: str(denial[name]) for name in ("unit", "policy_id") if denial.get(name)}
    return found


def _shortened(denials: Sequence[Document]) -> str:
    shown = list(denials)
    while len(text := json.dumps([dict(each) for each in shown], separators=(",", ":"))) > _MOST_BYTES and shown:
        shown.pop()
    return text
