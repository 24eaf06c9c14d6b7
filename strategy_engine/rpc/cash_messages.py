"""Movements of cash as messages."""

from __future__ import annotations

from typing import Any

from quasar.rpc.ops.actors import actor_message
from quasar.rpc.wellknown import timestamp
from quasar_proto.strategy.v1 import portfolio_pb2
from strategy_engine.rpc.values import decimal_message, money_message, number_of
from strategy_engine.store.actors import actor_of


def movement_message(row: Any) -> portfolio_pb2.CashMovement:
    """Return a row of the ledger of cash as a message."""
    return portfolio_pb2.CashMovement(
        movement_id=row["movement_id"],
        account_id=row["account_id"],
        instance_id=row["instance_id"] or "",
        time=timestamp(row["time"]),
        kind=number_of(portfolio_pb2.CashMovementKind, row["kind"], "CASH_MOVEMENT_KIND_"),
        amount=money_message(row["amount"], row["currency"]),
        balance_after=decimal_message(row["balance_after"]),
        fill_id=str(row["fill_id"] or ""),
        symbol=row["symbol"],
        description=row["detail"],
        actor=actor_message(actor_of(row["actor"])),
    )
