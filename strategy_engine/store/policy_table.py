"""Policies, trading states and denials in the database."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from quasar import paging
from quasar.database.pool import Database
from quasar.errors import NotFound, Resource
from quasar.filters import Field, condition
from quasar.ops.actors import Actor
from quasar.ordering import OrderField
from strategy_engine.policy.decision import Check
from strategy_engine.policy.limits import Granularity, Policy, Scope, ScopeKind, TradingState, limits_of
from strategy_engine.store.actors import actor_document, actor_of
from strategy_engine.store.pages import Asked, Listing
from strategy_engine.store.statements import SQL
from strategy_engine.trading.orders import StoredOrder

_SCOPES: Final = tuple(each.name for each in ScopeKind)
_POLICY_NAME: Final = "coalesce(nullif(rules ->> 'display_name', ''), policy_id)"
_POLICIES: Final = Listing(
    name="ListPolicies",
    statement=SQL["policies"],
    fields={
        "policy_id": Field("policy_id"),
        "display_name": Field(_POLICY_NAME),
        "scope.kind": Field("scope", "enum", _SCOPES),
        "scope.id": Field("scope_id"),
        "enabled": Field("case when enabled then 'true' else 'false' end"),
        "update_time": Field("updated_at", "time"),
    },
    orders={
        "policy_id": OrderField("policy_id"),
        "display_name": OrderField(_POLICY_NAME),
        "scope.kind": OrderField("scope"),
        "create_time": OrderField("created_at", "timestamptz"),
        "update_time": OrderField("updated_at", "timestamptz"),
    },
    default="policy_id",
    tie=(OrderField("policy_id"),),
)
_STATES: Final = Listing(
    name="ListTradingStates",
    statement=SQL["trading_states_page"],
    fields={
        "scope.kind": Field("scope", "enum", _SCOPES),
        "scope.id": Field("scope_id"),
        "state": Field("holds", "enum", tuple(each.name for each in TradingState)),
        "set_time": Field("set_at", "time"),
    },
    orders={
        "state": OrderField("case holds when 'HALTED' then 2 when 'REDUCE_ONLY' then 1 else 0 end", "integer"),
        "set_time": OrderField("set_at", "timestamptz"),
        "scope.kind": OrderField("scope"),
    },
    default="state desc",
    tie=(OrderField("scope"), OrderField("scope_id")),
)
_DENIALS: Final[Mapping[str, Field]] = {
    "account_id": Field("g.account_id"),
    "instance_id": Field("g.instance_id"),
    "run_id": Field("coalesce(g.run_id, '')"),
    "symbol": Field("g.symbol"),
    "side": Field("coalesce(o.side, '')", "enum", ("BUY", "SELL")),
    "origin": Field("coalesce(o.origin, '')"),
    "reason": Field("g.reasons", "list"),
    "policy_id": Field("g.policy_ids", "list"),
    "scope.kind": Field("g.scopes", "list"),
    "scope.id": Field("g.scope_ids", "list"),
    "time": Field("g.time", "time"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRow:
    """A policy as it is kept."""

    policy_id: str
    scope: Scope
    description: str
    rules: Mapping[str, Any]
    """`display_name`, `granularity`, and `limits` in the JSON form of the contract."""
    enabled: bool
    actor: Actor | None
    create_time: dt.datetime
    update_time: dt.datetime
    revision: int

    @property
    def policy(self) -> Policy:
        """What orders are judged by."""
        return Policy(
            policy_id=self.policy_id,
            scope=self.scope,
            limits=limits_of(self.rules.get("limits", {})),
            granularity=Granularity(self.rules.get("granularity", "SCOPE")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRow:
    """A trading state that somebody set."""

    scope: Scope
    state: TradingState
    reason: str
    actor: Actor | None
    """None: the engine."""
    set_time: dt.datetime | None
    """None: it was never set."""
    cause: str = ""
    """The limit that made the engine set it, a name of the contract's `DenialReason`; empty: somebody set it."""
    trigger: Mapping[str, Any] | None = None
    """The numbers of that limit, in the JSON form of the contract's `Denial`."""
    expire_time: dt.datetime | None = None
    """From then on the scope is ACTIVE again; None: only when somebody sets it."""

    def at(self, now: dt.datetime) -> TradingState:
        """Return the state that holds at a time."""
        over = self.expire_time is not None and self.expire_time <= now
        return TradingState.ACTIVE if over else self.state


BreachKey = tuple[str, str, str, str]
"""Policy, account, strategy (empty: the account) and reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A limit on losses that an account or a strategy has reached."""

    key: BreachKey
    breach_id: uuid.UUID
    acted: bool = False
    """What the policy asks for is done."""


class PolicyTable:
    """Reads and writes what orders are judged by."""

    def __init__(self, database: Database) -> None:
        """Use `database`."""
        self.database = database

    async def insert(self, connection: Any, new: PolicyRow) -> PolicyRow | None:
        """Record a policy; None when the id is taken."""
        row = await connection.fetchrow(
            SQL["policy_insert"], *_identity(new), new.update_time, actor_document(new.actor)
        )
        return None if row is None else _policy(row)

    async def update(self, connection: Any, changed: PolicyRow) -> PolicyRow:
        """Write a policy."""
        row = await connection.fetchrow(
            SQL["policy_update"], *_identity(changed), changed.update_time, actor_document(changed.actor)
        )
        return _policy(row)

    async def get(self, policy_id: str, connection: Any = None) -> PolicyRow:
        """Return a policy; with a connection it is kept for the rest of its transaction.

        Raises:
            NotFound: There is none of that id.
        """
        statement = SQL["policy_get"] if connection is None else SQL["policy_lock"]
        row = await (connection or self.database).fetchrow(statement, policy_id)
        if row is None:
            raise NotFound(f"There is no policy {policy_id!r}.", resource=Resource("policy", policy_id))
        return _policy(row)

    async def delete(self, connection: Any, policy_id: str) -> None:
        """Delete a policy."""
        await connection.execute(SQL["policy_delete"], policy_id)

    async def page(self, asked: Asked) -> tuple[list[PolicyRow], str]:
        """Return a page of policies, by id unless ordered otherwise."""
        rows, following = await _POLICIES.page(self.database, asked)
        return [_policy(row) for row in rows], following

    async def enabled(self) -> list[Policy]:
        """Return every policy that is in force."""
        return [_policy(row).policy for row in await self.database.fetch(SQL["policies_enabled"])]

    async def set_state(self, connection: Any, state: StateRow) -> StateRow:
        """Set the trading state of a scope."""
        row = await connection.fetchrow(
            SQL["trading_state_put"],
            state.scope.kind.value,
            state.scope.id,
            state.state.value,
            state.reason,
            state.set_time,
            actor_document(state.actor),
            state.cause,
            None if state.trigger is None else dict(state.trigger),
            state.expire_time,
        )
        return _state(row)

    async def lock_state(self, connection: Any, scope: Scope) -> StateRow | None:
        """Return the trading state of a scope, kept for the rest of the transaction; None: nobody set one."""
        row = await connection.fetchrow(SQL["trading_state_lock"], scope.kind.value, scope.id)
        return None if row is None else _state(row)

    async def states(self, now: dt.datetime) -> list[StateRow]:
        """Return every trading state that was set, the strictest at a time first; `StateRow.at` says what holds."""
        return [_state(row) for row in await self.database.fetch(SQL["trading_states"], now)]

    async def state_page(self, asked: Asked) -> tuple[list[StateRow], str]:
        """Return a page of the trading states that were set, the strictest first unless ordered otherwise."""
        rows, following = await _STATES.page(self.database, asked)
        return [_state(row) for row in rows], following

    async def states_over(self, now: dt.datetime) -> list[StateRow]:
        """Return the trading states whose time is over and that have not been taken back yet."""
        return [_state(row) for row in await self.database.fetch(SQL["trading_states_over"], now)]

    async def breaches(self) -> dict[BreachKey, Breach]:
        """Return the limits on losses that are reached."""
        found = {}
        for row in await self.database.fetch(SQL["loss_breaches"]):
            key = (row["policy_id"], row["account_id"], row["instance_id"], row["reason"])
            found[key] = Breach(key=key, breach_id=row["breach_id"], acted=row["acted_at"] is not None)
        return found

    async def begin_breach(self, breach: Breach, now: dt.datetime) -> None:
        """Record that a limit was reached, before anything is done about it."""
        await self.database.execute(SQL["loss_breach_insert"], *breach.key, breach.breach_id, now)

    async def end_breach(self, breach: Breach, now: dt.datetime) -> None:
        """Record that what the policy asks for was done."""
        await self.database.execute(SQL["loss_breach_acted"], breach.breach_id, now)

    async def forget_breach(self, breach: Breach) -> None:
        """Let a limit act again: the loss is below it."""
        await self.database.execute(SQL["loss_breach_delete"], breach.breach_id)

    async def deny(
        self,
        connection: Any,
        order: StoredOrder,
        denials: Sequence[Check],
        now: dt.datetime,
        change: Mapping[str, Any] | None = None,
    ) -> None:
        """Record why an order, or a change of one, was denied."""
        rows = [
            (
                now,
                order.client_order_id,
                order.account_id,
                order.instance_id or None,
                order.run_id,
                order.spec.symbol,
                each.reason,
                each.scope.kind.value,
                each.scope.id,
                each.policy_id or None,
                each.limit,
                each.value,
                each.unit,
                each.detail,
                None if change is None else dict(change),
            )
            for each in denials
        ]
        await connection.executemany(SQL["denial_insert"], rows)

    async def denials(self, asked: Asked, *, oldest_first: bool = False) -> tuple[list[Any], str]:
        """Return a page of denied orders, newest first unless asked otherwise."""
        size = paging.page_size(asked.page_size)
        query = ("ListDenials", asked.filter_text, str(oldest_first))
        key = paging.page_key(query, asked.page_token)
        where = condition(asked.filter_text, _DENIALS, first_parameter=3)
        compare, order = (">", "asc") if oldest_first else ("<", "desc")
        statement = SQL["denials"].format(filter=where.sql, compare=compare, order=order)
        before = int(key[0]) if key else None
        rows = await self.database.fetch(statement, size + 1, before, *where.parameters)
        following = paging.page_token(query, (rows[size - 1]["denial_id"],)) if len(rows) > size else ""
        return list(rows[:size]), following


def _identity(row: PolicyRow) -> tuple[Any, ...]:
    scope = row.scope
    return (row.policy_id, scope.kind.value, scope.id, row.description, dict(row.rules), row.enabled)


def _policy(row: Any) -> PolicyRow:
    return PolicyRow(
        policy_id=row["policy_id"],
        scope=Scope(ScopeKind(row["scope"]), row["scope_id"]),
        description=row["description"],
        rules=row["rules"],
        enabled=row["enabled"],
        actor=actor_of(row["updated_by"]),
        create_time=row["created_at"],
        update_time=row["updated_at"],
        revision=row["revision"],
    )


def _state(row: Any) -> StateRow:
    return StateRow(
        scope=Scope(ScopeKind(row["scope"]), row["scope_id"]),
        state=TradingState(row["state"]),
        reason=row["reason"],
        actor=actor_of(row["set_by"]),
        set_time=row["set_at"],
        cause=row["cause"],
        trigger=row["trigger"],
        expire_time=row["expires_at"],
    )
