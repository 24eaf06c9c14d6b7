"""Orders and fills in the database."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from quasar import paging
from quasar.database.pool import Database
from quasar.errors import NotFound, Resource
from quasar.filters import Field
from quasar.model.instants import from_ns, to_ns
from quasar.model.order_states import OrderStatus
from quasar.model.orders import Fill, LiquiditySide, OrderSide, OrderType
from quasar.ordering import OrderField
from strategy_engine.store.actors import actor_document, actor_of
from strategy_engine.store.field_words import truth
from strategy_engine.store.pages import Asked, Listing
from strategy_engine.store.statements import SQL
from strategy_engine.trading.orders import Documents, NewOrder, StoredFill, StoredOrder

_ORDERS: Final = Listing(
    name="ListOrders",
    statement=SQL["orders"],
    fields={
        "account_id": Field("account_id"),
        "instance_id": Field("coalesce(instance_id, '')"),
        "run_id": Field("coalesce(run_id::text, '')"),
        "symbol": Field("symbol"),
        "side": Field("side", "enum", ("BUY", "SELL")),
        "type": Field("type", "enum", tuple(each.name for each in OrderType)),
        "status": Field("status", "enum", tuple(each.name for each in OrderStatus)),
        "open": truth("final_at is null"),
        "origin": Field("origin", "enum", ("STRATEGY", "MANUAL", "ENGINE", "EXTERNAL")),
        "tag": Field("tag"),
        "broker": Field("broker"),
        "broker_order_id": Field("coalesce(broker_order_id, '')"),
        "client_order_id": Field("client_order_id"),
        "parent_client_order_id": Field("coalesce(parent_client_order_id, '')"),
        "create_time": Field("created_at", "time"),
        "update_time": Field("updated_at", "time"),
    },
    orders={
        "create_time": OrderField("created_at", "timestamptz"),
        "update_time": OrderField("updated_at", "timestamptz"),
        "symbol": OrderField("symbol"),
        "status": OrderField("status"),
    },
    default="create_time desc",
    tie=(OrderField("client_order_id"),),
)
_FILLS: Final = Listing(
    name="ListFills",
    statement=SQL["fills"],
    fields={
        "account_id": Field("account_id"),
        "instance_id": Field("coalesce(instance_id, '')"),
        "run_id": Field("coalesce(run_id::text, '')"),
        "symbol": Field("symbol"),
        "side": Field("side", "enum", ("BUY", "SELL")),
        "client_order_id": Field("client_order_id"),
        "liquidity_side": Field("liquidity_side", "enum", ("", "MAKER", "TAKER", "AUCTION")),
        "tag": Field("tag"),
        "fill_time": Field("filled_at", "time"),
    },
    orders={"fill_time": OrderField("filled_at", "timestamptz"), "symbol": OrderField("symbol")},
    default="fill_time desc",
    tie=(OrderField("fill_id", "uuid"),),
)


class OrderTable:
    """Reads and writes orders and fills."""

    def __init__(self, database: Database, documents: Documents) -> None:
        """Use `database`; `documents` writes the terms of orders."""
        self.database = database
        self._documents = documents

    async def insert(self, connection: Any, order: StoredOrder, now: dt.datetime) -> bool:
        """Record an order before anything is sent; False when its id is there already."""
        spec = order.spec
        expires = None if spec.expire_time_ns is None else from_ns(spec.expire_time_ns)
        contingency = spec.group_contingency.value if spec.group_contingency else ""
        found = await connection.fetchval(
            SQL["order_insert"],
            order.client_order_id,
            order.account_id,
            order.instance_id or None,
            order.run_id,
            order.intent_number or None,
            order.leg,
            order.origin,
            spec.symbol,
            order.currency,
            spec.side.value,
            spec.type.value,
            spec.quantity,
            spec.notional,
            spec.limit_price,
            spec.trigger_price,
            spec.time_in_force.value,
            expires,
            spec.reduce_only,
            dict(self._documents.spec(order.asked)),
            order.status.value,
            order.status_text,
            [dict(each) for each in order.denials],
            order.parent_client_order_id or None,
            spec.group,
            contingency,
            order.reference_price,
            spec.tag,
            order.decide_time,
            now,
            now if order.status.is_final else None,
            actor_document(order.actor),
        )
        return found is not None

    async def find(self, client_order_id: str) -> StoredOrder | None:
        """Return an order, or None."""
        found = await self.find_all([client_order_id])
        return found[0] if found else None

    async def find_all(self, client_order_ids: Sequence[str]) -> list[StoredOrder]:
        """Return the orders of these ids that are there."""
        rows = await self.database.fetch(SQL["orders_by_id"], list(client_order_ids))
        return [self.order(row) for row in rows]

    async def get(self, client_order_id: str) -> StoredOrder:
        """Return an order.

        Raises:
            NotFound: There is none of that id.
        """
        found = await self.find(client_order_id)
        if found is None:
            raise NotFound(f"There is no order {client_order_id}.", resource=Resource("order", client_order_id))
        return found

    async def open(self, account_id: str = "") -> list[StoredOrder]:
        """Return the orders that work, oldest first; of one account or of all."""
        return [self.order(row) for row in await self.database.fetch(SQL["orders_open"], account_id)]

    async def lock(self, connection: Any, client_order_id: str) -> StoredOrder:
        """Return an order and keep it for the rest of the transaction."""
        return self.order(await connection.fetchrow(SQL["order_lock"], client_order_id))

    async def change(self, connection: Any, order: StoredOrder, now: dt.datetime) -> StoredOrder:
        """Write the status, terms in force and fills of an order, and return it as it is now."""
        spec = order.spec
        row = await connection.fetchrow(
            SQL["order_change"],
            order.client_order_id,
            order.status.value,
            order.status_text,
            spec.quantity,
            spec.limit_price,
            spec.trigger_price,
            order.filled_quantity,
            order.average_fill_price,
            now,
            order.status.is_final,
            None if spec.expire_time_ns is None else from_ns(spec.expire_time_ns),
        )
        return self.order(row)

    async def trail(self, connection: Any, client_order_id: str, trigger_price: Decimal) -> None:
        """Keep how far the trigger of a trailing stop has come; no step of the order."""
        await connection.execute(SQL["order_trail"], client_order_id, trigger_price)

    async def change_of(self, client_order_id: str, request_id: str) -> Any:
        """Return the document of the change that a request asked for, or None."""
        return await self.database.fetchval(SQL["change_of_request"], client_order_id, request_id)

    async def page(self, asked: Asked) -> tuple[list[StoredOrder], str]:
        """Return a page of orders, newest first unless ordered otherwise."""
        rows, following = await _ORDERS.page(self.database, asked)
        return [self.order(row) for row in rows], following

    async def insert_fill(
        self, connection: Any, order: StoredOrder, fill: Fill, realised: Decimal, now: dt.datetime
    ) -> StoredFill | None:
        """Record an execution; None when it is there already."""
        row = await connection.fetchrow(
            SQL["fill_insert"],
            fill.broker_fill_id,
            order.client_order_id,
            order.account_id,
            order.instance_id or None,
            order.run_id,
            fill.symbol,
            fill.side.value,
            fill.quantity,
            fill.price,
            fill.currency,
            fill.commission,
            fill.liquidity_side.value if fill.liquidity_side else "",
            from_ns(fill.fill_time_ns),
            now,
            fill.position_after,
            realised,
            fill.tag,
        )
        return None if row is None else fill_of(row)

    async def fills_of(self, client_order_id: str) -> list[StoredFill]:
        """Return the executions of an order, oldest first."""
        return [fill_of(row) for row in await self.database.fetch(SQL["fills_of_order"], client_order_id)]

    async def fills_of_run(self, run_id: uuid.UUID) -> list[StoredFill]:
        """Return the executions of a run, oldest first."""
        return [fill_of(row) for row in await self.database.fetch(SQL["fills_of_run"], run_id)]

    async def fills_on(self, account_ids: Sequence[str], instance_id: str | None) -> list[tuple[StoredFill, Decimal]]:
        """Return the executions of accounts, or of one instance, oldest first, each with its multiplier.

        Those from before the last reset of an account are left out, as its positions are forgotten.
        """
        rows = await self.database.fetch(SQL["fills_of_accounts"], list(account_ids), instance_id)
        return [(fill_of(row), row["multiplier"]) for row in rows]

    async def traded_since(self, time: dt.datetime) -> dict[tuple[str, str], Any]:
        """Return by account and instance ("" for none), as rows, how many executions there were since a time."""
        rows = await self.database.fetch(SQL["fills_since"], time)
        return {(row["account_id"], row["instance_id"]): row for row in rows}

    async def fills(self, asked: Asked) -> tuple[list[StoredFill], str]:
        """Return a page of executions, newest first unless ordered otherwise."""
        rows, following = await _FILLS.page(self.database, asked)
        return [fill_of(row) for row in rows], following

    async def order_events(self, client_order_id: str, page_size: int, page_token: str) -> tuple[list[Any], str]:
        """Return a page of the steps of an order as rows, oldest first."""
        size = paging.page_size(page_size)
        query = ("ListOrderEvents", client_order_id)
        key = paging.page_key(query, page_token)
        rows = await self.database.fetch(SQL["order_events"], size + 1, client_order_id, int(key[0]) if key else 0)
        following = paging.page_token(query, (rows[size - 1]["id"],)) if len(rows) > size else ""
        return list(rows[:size]), following

    def order(self, row: Any) -> StoredOrder:
        """Return the order that a row holds."""
        asked = self._documents.read_spec(row["spec"])
        spec = replace(
            asked,
            quantity=row["quantity"],
            limit_price=row["limit_price"],
            trigger_price=row["trigger_price"],
            expire_time_ns=None if row["expires_at"] is None else to_ns(row["expires_at"]),
        )
        if spec.quantity is not None and spec.notional is not None:
            spec = replace(spec, notional=None)  # it has become a quantity
        return StoredOrder(
            client_order_id=row["client_order_id"],
            account_id=row["account_id"],
            broker=row["broker"],
            spec=spec,
            asked=asked,
            status=OrderStatus(row["status"]),
            status_text=row["status_text"],
            origin=row["origin"],
            instance_id=row["instance_id"] or "",
            run_id=row["run_id"],
            intent_number=row["intent_number"] or 0,
            leg=row["leg"],
            currency=row["currency"],
            denials=row["denials"],
            filled_quantity=row["filled_quantity"],
            average_fill_price=row["average_fill_price"],
            parent_client_order_id=row["parent_client_order_id"] or "",
            reference_price=row["reference_price"],
            decide_time=row["decided_at"],
            create_time=row["created_at"],
            submit_time=row["submitted_at"],
            accept_time=row["accepted_at"],
            update_time=row["updated_at"],
            final_time=row["final_at"],
            revision=row["revision"],
            actor=actor_of(row["actor"]),
        )


def fill_of(row: Any) -> StoredFill:
    """Return the execution that a row holds."""
    fill = Fill(
        fill_id=str(row["fill_id"]),
        client_order_id=row["client_order_id"],
        symbol=row["symbol"],
        side=OrderSide(row["side"]),
        quantity=row["quantity"],
        price=row["price"],
        commission=row["commission"],
        fill_time_ns=to_ns(row["filled_at"]),
        currency=row["currency"],
        liquidity_side=LiquiditySide(row["liquidity_side"]) if row["liquidity_side"] else None,
        position_after=row["position_after"],
        tag=row["tag"],
        broker_fill_id=row["broker_fill_id"],
    )
    return StoredFill(
        fill_id=row["fill_id"],
        fill=fill,
        account_id=row["account_id"],
        instance_id=row["instance_id"] or "",
        run_id=row["run_id"],
        receive_time=row["received_at"],
        realised_pnl=row["realised_pnl"],
    )


def recorded(new: NewOrder, now: dt.datetime, **more: Any) -> StoredOrder:
    """Return a new order as it is recorded first; `more` sets what is known beside it."""
    return StoredOrder(
        **{
            "client_order_id": new.client_order_id,
            "account_id": new.account_id,
            "broker": "Paper",
            "spec": new.spec,
            "asked": new.spec,
            "status": OrderStatus.PENDING_NEW,
            "status_text": "",
            "origin": new.origin,
            "instance_id": new.instance_id,
            "run_id": new.run_id,
            "intent_number": new.intent_number or 0,
            "leg": 0,
            "currency": "",
            "denials": (),
            "filled_quantity": Decimal(0),
            "average_fill_price": None,
            "parent_client_order_id": "",
            "reference_price": None,
            "decide_time": new.decide_time,
            "create_time": now,
            "submit_time": None,
            "accept_time": None,
            "update_time": now,
            "final_time": None,
            "revision": 1,
            "actor": new.actor,
            **more,
        }
    )
