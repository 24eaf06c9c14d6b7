"""Accounts, positions, cash and equity in the database."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from quasar.database.pool import Database
from quasar.errors import NotFound, Resource
from quasar.ops.actors import Actor
from strategy_engine.store.actors import actor_document
from strategy_engine.store.cash_table import CashTable, Movement
from strategy_engine.store.statements import SQL
from strategy_engine.trading.orders import Account, Held


@dataclass(frozen=True, slots=True, kw_only=True)
class EquityPoint:
    """What an account or an instance is worth at one moment."""

    scope: str
    """`ACCOUNT` or `INSTANCE`."""
    scope_id: str
    time: dt.datetime
    currency: str
    equity: Decimal
    cash: Decimal
    gross_exposure: Decimal
    net_exposure: Decimal
    realised_pnl: Decimal
    unrealised_pnl: Decimal
    run_id: Any = None
    paid_in: Decimal = Decimal(0)
    """Cash paid in until then, less paid out."""


class AccountTable:
    """Reads and writes accounts and what they hold."""

    def __init__(self, database: Database) -> None:
        """Use `database`."""
        self.database = database

    async def insert(self, connection: Any, account: Account, actor: Actor | None, now: dt.datetime) -> bool:
        """Record an account with its cash; False when the id is taken."""
        found = await connection.fetchval(
            SQL["account_insert"],
            account.account_id,
            account.display_name,
            account.currency,
            dict(account.settings),
            now,
            actor_document(actor),
        )
        if found is not None:
            await connection.execute(
                SQL["account_balance_put"], account.account_id, account.currency, account.cash, now
            )
            opening = Movement(
                account_id=account.account_id,
                kind="DEPOSIT",
                currency=account.currency,
                amount=account.cash,
                balance_after=account.cash,
                time=now,
                detail="What the account began with",
                actor=actor,
            )
            await CashTable(self.database).insert(connection, opening)
        return found is not None

    async def all(self) -> list[Account]:
        """Return every account."""
        statement = SQL["accounts"].format(key="null", filter="true", after="true", order="account_id")
        return [_account(row) for row in await self.database.fetch(statement, 10_000)]

    async def get(self, account_id: str) -> Account:
        """Return an account.

        Raises:
            NotFound: There is none of that id.
        """
        statement = SQL["accounts"].format(key="null", filter="account_id = $2", after="true", order="1")
        row = await self.database.fetchrow(statement, 1, account_id)
        if row is None:
            raise NotFound(f"There is no account {account_id!r}.", resource=Resource("account", account_id))
        return _account(row)

    async def update(
        self, connection: Any, former: Account, name: str | None, labels: dict[str, str] | None, now: dt.datetime
    ) -> bool:
        """Change name and labels, None keeps them; False when the account was changed since it was read."""
        found = await connection.fetchval(SQL["account_update"], former.account_id, former.revision, name, labels, now)
        return found is not None

    async def delete(self, connection: Any, account_id: str, now: dt.datetime) -> None:
        """Delete an account; its records stay."""
        await connection.execute(SQL["account_delete"], account_id, now)

    async def positions(
        self, account_id: str = "", instance_id: str | None = None, *, include_flat: bool = False
    ) -> list[Held]:
        """Return positions of an account or of all, of one instance ("" for what is beyond them) or of all."""
        rows = await self.database.fetch(SQL["positions"], account_id, instance_id, include_flat)
        return [held_of(row) for row in rows]

    async def lock_position(self, connection: Any, key: Held) -> Held:
        """Return a position as it is, kept for the rest of the transaction; `key` where there is none."""
        row = await connection.fetchrow(SQL["position_lock"], key.account_id, key.instance_id, key.symbol)
        return key if row is None else held_of(row)

    async def put_position(self, connection: Any, held: Held, now: dt.datetime) -> None:
        """Write a position."""
        await connection.execute(
            SQL["position_put"],
            held.account_id,
            held.instance_id,
            held.symbol,
            held.currency,
            held.quantity,
            held.average_price,
            held.multiplier,
            held.mark_price,
            held.mark_time or now,
            held.realised_pnl,
            held.commission,
            held.open_time,
        )

    async def mark(self, symbol: str, price: Decimal, time: dt.datetime) -> None:
        """Value what is held of a symbol at a new price."""
        await self.database.execute(SQL["positions_mark"], symbol, price, time)

    async def add_cash(
        self, connection: Any, account_id: str, currency: str, amount: Decimal, now: dt.datetime
    ) -> Decimal:
        """Add to the cash of an account, and return what it has of the currency then."""
        found: Decimal = await connection.fetchval(SQL["balance_add"], account_id, currency, amount, now)
        return found

    async def put_equity(self, connection: Any, points: Sequence[EquityPoint]) -> None:
        """Write points of equity curves."""
        rows = [
            (
                each.scope,
                each.scope_id,
                each.time,
                each.run_id,
                each.currency,
                each.equity,
                each.cash,
                each.gross_exposure,
                each.net_exposure,
                each.realised_pnl,
                each.unrealised_pnl,
                each.paid_in,
            )
            for each in points
        ]
        await connection.executemany(SQL["equity_put"], rows)

    async def marks(self, scope: str, scope_id: str, day_start: dt.datetime) -> tuple[Decimal | None, Decimal | None]:
        """Return the highest equity so far, and the last one before a day began; None where there is none.

        Both are without the cash that had been paid in until then, so that paying in or out is no profit and no loss.
        """
        row = await self.database.fetchrow(SQL["equity_marks"], scope, scope_id, day_start)
        return row["peak"], row["day_start"]

    async def instances_on(self, account_ids: Sequence[str], day: dt.datetime) -> list[Any]:
        """Return the instances of accounts as rows by id, with peak, equity before `day`, and open orders."""
        return await self.database.fetch(SQL["instances_on"], list(account_ids), day)

    async def day_marks(self, scope: str, scope_ids: Sequence[str], zone: str) -> list[Any]:
        """Return the last mark of equity of each owner and day of a time zone, as rows by owner and day."""
        return await self.database.fetch(SQL["equity_days"], scope, list(scope_ids), zone)

    async def curve(self, scope: str, scope_id: str, start: dt.datetime | None, end: dt.datetime | None) -> list[Any]:
        """Return the points of an equity curve, oldest first."""
        return await self.database.fetch(SQL["equity_curve"], scope, scope_id, start, end)


def _account(row: Any) -> Account:
    return Account(
        account_id=row["account_id"],
        display_name=row["display_name"],
        currency=row["currency"],
        cash=row["cash"],
        paid_in=row["paid_in"],
        settings=row["settings"],
        open_orders=row["open_orders"],
        instance_ids=tuple(row["instance_ids"]),
        revision=row["revision"],
        create_time=row["created_at"],
        update_time=row["updated_at"],
    )


def held_of(row: Any) -> Held:
    """Return the position that a row holds."""
    return Held(
        account_id=row["account_id"],
        instance_id=row["instance_id"],
        symbol=row["symbol"],
        currency=row["currency"],
        quantity=row["quantity"],
        average_price=row["average_price"],
        multiplier=row["multiplier"],
        mark_price=row["mark_price"],
        mark_time=row["marked_at"],
        realised_pnl=row["realised_pnl"],
        commission=row["commission"],
        open_time=row["opened_at"],
        update_time=row["updated_at"],
        revision=row["revision"],
    )
