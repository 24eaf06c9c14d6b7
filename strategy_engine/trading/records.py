"""What happens to orders, written in one transaction: order, fill, position, cash, and the event that tells it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from quasar.model.instants import from_ns
from quasar.model.order_states import OrderStatus
from quasar.ops.actors import Actor
from quasar.ops.events import Events, Severity
from strategy_engine.policy.decision import Check
from strategy_engine.store.account_table import AccountTable
from strategy_engine.store.cash_table import CashTable, Movement
from strategy_engine.store.order_table import OrderTable
from strategy_engine.store.policy_table import PolicyTable
from strategy_engine.trading.orders import (
    ZERO,
    Changed,
    Document,
    Documents,
    FillOutcome,
    Held,
    Outcome,
    StatusOutcome,
    StoredFill,
    StoredOrder,
    TrailOutcome,
    booked,
)

_KINDS: Final = {OrderStatus.PENDING_NEW: "OrderPlaced"}
"""What is told of a status, where that is not its own name."""
_WORDS: Final = {
    OrderStatus.DENIED: Severity.WARNING,
    OrderStatus.REJECTED: Severity.WARNING,
    OrderStatus.UNRESOLVED: Severity.ERROR,
}


class TradeRecords:
    """Writes what happens to orders."""

    def __init__(
        self,
        orders: OrderTable,
        accounts: AccountTable,
        policies: PolicyTable,
        cash: CashTable,
        events: Events,
        documents: Documents,
    ) -> None:
        """Write into these tables; `documents` writes what events carry."""
        self.orders = orders
        self.accounts = accounts
        self.policies = policies
        self.cash = cash
        self._events = events
        self._documents = documents

    async def record(
        self, order: StoredOrder, exits: Sequence[StoredOrder], denials: Sequence[Check], now: dt.datetime
    ) -> bool:
        """Record an order, with its exits, before anything is sent; False when its id is there already."""
        async with self.orders.database.transaction() as connection:
            if not await self.orders.insert(connection, order, now):
                return False
            for child in exits:
                await self.orders.insert(connection, child, now)
            if denials:
                await self.policies.deny(connection, order, denials, now)
            await self._tell_order(connection, order, None, now)
        return True

    async def take(self, outcomes: Sequence[Outcome], now: dt.datetime, actor: Actor | None = None) -> list[Changed]:
        """Write what a broker told, in its order and in one transaction; `actor`: who made it happen."""
        changed: list[Changed] = []
        async with self.orders.database.transaction() as connection:
            for outcome in outcomes:
                if isinstance(outcome, TrailOutcome):
                    await self.orders.trail(connection, outcome.client_order_id, outcome.trigger_price)
                    continue
                one = (
                    await self._fill(connection, outcome, now)
                    if isinstance(outcome, FillOutcome)
                    else await self._status(connection, outcome, now, actor)
                )
                if one is not None:
                    changed.append(one)
        return changed

    async def _status(
        self, connection: Any, outcome: StatusOutcome, now: dt.datetime, actor: Actor | None
    ) -> Changed | None:
        order = await self.orders.lock(connection, outcome.client_order_id)
        if order.status.is_final:
            return None
        spec = replace(
            order.spec,
            quantity=outcome.quantity if outcome.quantity is not None else order.spec.quantity,
            limit_price=outcome.limit_price if outcome.limit_price is not None else order.spec.limit_price,
            trigger_price=outcome.trigger_price if outcome.trigger_price is not None else order.spec.trigger_price,
            expire_time_ns=outcome.expire_time_ns if outcome.expire_time_ns is not None else order.spec.expire_time_ns,
        )
        wanted = replace(order, spec=spec, status=outcome.status, status_text=outcome.text)
        if (wanted.status, wanted.spec) == (order.status, order.spec):
            return None
        after = await self.orders.change(connection, wanted, now)
        await self._tell_order(connection, after, order.status, now, actor)
        return Changed(after, order.status)

    async def _fill(self, connection: Any, outcome: FillOutcome, now: dt.datetime) -> Changed | None:
        order = await self.orders.lock(connection, outcome.client_order_id)
        key = Held(
            account_id=order.account_id,
            instance_id=order.instance_id,
            symbol=order.spec.symbol,
            currency=outcome.fill.currency,
        )
        time = from_ns(outcome.fill.fill_time_ns)
        before = await self.accounts.lock_position(connection, key)
        if not before.quantity:
            before = replace(before, multiplier=outcome.multiplier)
        after = booked(before, outcome.fill, time)
        # The same fill told twice has the same id: it begins where the order was filled to before.
        fill = replace(
            outcome.fill,
            broker_fill_id=f"{order.client_order_id}:{order.filled_quantity.normalize():f}",
            position_after=after.held.quantity,
        )
        stored = await self.orders.insert_fill(connection, order, fill, after.realised, now)
        if stored is None:
            return None
        await self.accounts.put_position(connection, after.held, now)
        cash = await self.accounts.add_cash(connection, order.account_id, fill.currency, after.cash, now)
        await self._moved(connection, stored, after.cash, cash, now)
        return await self._filled(connection, order, stored, after.held, now)

    async def _moved(
        self, connection: Any, stored: StoredFill, moved: Decimal, cash: Decimal, now: dt.datetime
    ) -> None:
        """Record what a fill did to the cash: what it bought or sold for, then its commission."""
        fill, commission = stored.fill, stored.fill.commission
        for kind, amount, after in (
            ("TRADE", moved + commission, cash + commission),
            ("COMMISSION", -commission, cash),
        ):
            if amount:
                movement = Movement(
                    account_id=stored.account_id,
                    instance_id=stored.instance_id,
                    kind=kind,
                    currency=fill.currency,
                    amount=amount,
                    balance_after=after,
                    time=now,
                    fill_id=stored.fill_id,
                    symbol=fill.symbol,
                )
                await self.cash.insert(connection, movement)

    async def deny_change(
        self, order: StoredOrder, change: Document, denials: Sequence[Check], actor: Actor | None, now: dt.datetime
    ) -> None:
        """Record that a change of an order was denied; the order stays as it is."""
        async with self.orders.database.transaction() as connection:
            await self.policies.deny(connection, order, denials, now, change)
            text = (
                f"A change of the order {order.client_order_id} was denied: {'; '.join(one.detail for one in denials)}"
            )
            await self._tell_change(connection, "OrderReplaceDenied", text, order, change, actor)

    async def request_change(self, order: StoredOrder, change: Document, request_id: str, actor: Actor | None) -> None:
        """Record that a change of an order was asked for, before it is sent."""
        async with self.orders.database.transaction() as connection:
            text = f"A change of the order {order.client_order_id} was asked for."
            await self._tell_change(connection, "OrderReplaceRequested", text, order, change, actor, request_id)

    async def request_cancel(self, order: StoredOrder, reason: str, actor: Actor) -> None:
        """Record that somebody asked for the end of an order, before it is sent."""
        async with self.orders.database.transaction() as connection:
            why = f": {reason}" if reason else "."
            text = f"The cancellation of the order {order.client_order_id} was asked for{why}"
            await self._tell_change(connection, "OrderCancelRequested", text[:600], order, {}, actor, reason=reason)

    async def _tell_change(
        self,
        connection: Any,
        kind: str,
        text: str,
        order: StoredOrder,
        change: Document,
        actor: Actor | None,
        request_id: str = "",
        reason: str = "",
    ) -> None:
        await self._events.record(
            connection,
            kind,
            text,
            subject_type="order",
            subject_name=order.client_order_id,
            severity=Severity.WARNING if kind.endswith("Denied") else Severity.INFO,
            data={
                "account_id": order.account_id,
                "instance_id": order.instance_id,
                "symbol": order.spec.symbol,
                "status": order.status.value,
                "former_status": order.status.value,
                "revision": order.revision,
                "change": dict(change),
                "request_id": request_id,
                "reason": reason,
            },
            actor=actor,
        )

    async def _filled(
        self, connection: Any, order: StoredOrder, stored: StoredFill, held: Held, now: dt.datetime
    ) -> Changed:
        fill = stored.fill
        quantity = order.filled_quantity + fill.quantity
        worth = order.filled_quantity * (order.average_fill_price or ZERO) + fill.quantity * fill.price
        total = order.spec.quantity
        complete = total is not None and quantity >= total
        status = OrderStatus.FILLED if complete else OrderStatus.PARTIALLY_FILLED
        wanted = replace(
            order,
            spec=replace(order.spec, notional=None, quantity=total if total is not None else quantity),
            status=status,
            status_text="",
            filled_quantity=quantity,
            average_fill_price=worth / quantity,
        )
        after = await self.orders.change(connection, wanted, now)
        told = self._documents.fill(stored)
        await self._tell_order(connection, after, order.status, now, fill=told)
        await self._tell_run(connection, after, "OrderFilled", "FILL", told, fill.fill_time_ns)
        await self._tell_run(
            connection, after, "PositionChanged", "POSITION", self._documents.position(held), fill.fill_time_ns
        )
        return Changed(after, order.status, stored, held)

    async def _tell_order(
        self,
        connection: Any,
        order: StoredOrder,
        former: OrderStatus | None,
        now: dt.datetime,
        actor: Actor | None = None,
        fill: Document | None = None,
    ) -> None:
        spec = order.spec
        words = order.status.value.replace("_", " ").lower()
        quantity = spec.quantity if spec.quantity is not None else spec.notional
        why = f": {order.status_text}" if order.status_text else ""
        await self._events.record(
            connection,
            _KINDS.get(order.status) or f"Order{order.status.value.title().replace('_', '')}",
            f"Order to {spec.side.value.lower()} {quantity} {spec.symbol} is {words}{why}.",
            subject_type="order",
            subject_name=order.client_order_id,
            severity=_WORDS.get(order.status, Severity.INFO),
            data={
                "account_id": order.account_id,
                "instance_id": order.instance_id,
                "symbol": spec.symbol,
                "status": order.status.value,
                "former_status": former.value if former else "",
                "revision": order.revision,
                "telemetry": "ORDER",
                "payload": dict(self._documents.order(order)),
                **({} if fill is None else {"fill": dict(fill)}),
                "event_time": now.isoformat(),
            },
            actor=actor or order.actor,
            run_id=str(order.run_id or ""),
        )

    async def _tell_run(
        self, connection: Any, order: StoredOrder, kind: str, telemetry: str, payload: Mapping[str, Any], time_ns: int
    ) -> None:
        if order.run_id is None:
            return
        await self._events.record(
            connection,
            kind,
            f"{kind} of {order.spec.symbol}.",
            subject_type="instance",
            subject_name=order.instance_id,
            data={"telemetry": telemetry, "payload": dict(payload), "event_time": from_ns(time_ns).isoformat()},
            run_id=str(order.run_id),
        )
