"""Movements of cash in the database: what came, what went, and the balance after it."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from quasar.database.pool import Database
from quasar.filters import Field
from quasar.ops.actors import Actor
from quasar.ordering import OrderField
from strategy_engine.store.actors import actor_document
from strategy_engine.store.pages import Asked, Listing
from strategy_engine.store.statements import SQL
from strategy_engine.trading.orders import Document

_KINDS: Final = (
    "DEPOSIT",
    "WITHDRAWAL",
    "TRADE",
    "COMMISSION",
    "FEE",
    "INTEREST",
    "DIVIDEND",
    "FUNDING",
    "EXCHANGE",
    "ADJUSTMENT",
    "RESET",
)
_MOVEMENTS: Final = Listing(
    name="ListCashMovements",
    statement=SQL["movements"],
    fields={
        "account_id": Field("account_id"),
        "instance_id": Field("coalesce(instance_id, '')"),
        "kind": Field("kind", "enum", _KINDS),
        "currency": Field("currency"),
        "symbol": Field("symbol"),
        "fill_id": Field("coalesce(fill_id::text, '')"),
        "time": Field("time", "time"),
    },
    orders={"movement_id": OrderField("movement_id", "bigint")},
    default="movement_id desc",
    tie=(OrderField("movement_id", "bigint"),),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """Cash that comes or goes."""

    account_id: str
    kind: str
    """A name of the contract's `CashMovementKind`, without its prefix."""
    currency: str
    amount: Decimal
    """Negative: it goes."""
    balance_after: Decimal
    time: dt.datetime
    detail: str = ""
    reference: str | None = None
    """What makes it happen once; None: nothing does."""
    instance_id: str = ""
    fill_id: uuid.UUID | None = None
    symbol: str = ""
    actor: Actor | None = None


class CashTable:
    """Reads and writes movements of cash, and the balances that they add up to."""

    def __init__(self, database: Database) -> None:
        """Use `database`."""
        self.database = database

    async def insert(self, connection: Any, movement: Movement) -> None:
        """Record a movement, in the transaction that moves the balance."""
        await connection.execute(
            SQL["movement_insert"],
            movement.account_id,
            movement.instance_id or None,
            movement.kind,
            movement.currency,
            movement.amount,
            movement.time,
            movement.detail,
            movement.reference,
            movement.balance_after,
            movement.fill_id,
            movement.symbol,
            actor_document(movement.actor),
        )

    async def of_reference(self, connection: Any, reference: str) -> Any:
        """Return amount and detail of the movement that a reference stands for, or None."""
        return await connection.fetchrow(SQL["movement_of_reference"], reference)

    async def lock(self, connection: Any, account_id: str, currency: str) -> Decimal:
        """Return a balance, kept for the rest of the transaction."""
        found: Decimal = await connection.fetchval(SQL["balance_lock"], account_id, currency)
        return found

    async def pay(self, connection: Any, account_id: str, currency: str, amount: Decimal, now: dt.datetime) -> Decimal:
        """Pay into a balance, or out of it, and return what it is then."""
        found: Decimal = await connection.fetchval(SQL["balance_pay"], account_id, currency, amount, now)
        return found

    async def reset(
        self, connection: Any, account_id: str, currency: str, settings: Document, cash: Decimal, now: dt.datetime
    ) -> None:
        """Put an account back to its start: its positions are forgotten, its cash and settings are these."""
        await connection.execute(SQL["positions_forget"], account_id)
        await connection.execute(SQL["balance_reset"], account_id, currency, cash, now)
        await connection.execute(SQL["account_reset"], account_id, dict(settings), now)

    async def running(self, account_id: str) -> list[str]:
        """Return the ids of instances that run on an account."""
        return [row["instance_id"] for row in await self.database.fetch(SQL["instances_running"], account_id)]

    async def page(self, asked: Asked) -> tuple[list[Any], str]:
        """Return a page of movements as rows, newest first unless ordered otherwise."""
        return await _MOVEMENTS.page(self.database, asked)
