"""The tables of subscriptions: rows in, values out. Every function works on the connection that it is given."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Sequence
from typing import Any

from quasar.filters import Condition
from quasar.ops.actors import Actor
from registry.code import preferences
from registry.code.declarations import Declaration
from registry.code.fields import schema
from registry.code.refs import CodeKind
from registry.store.actors import actor_document, actor_of
from registry.store.statements import SQL
from registry.store.texts import filled
from registry.subscriptions.plans import Plan, ProviderFacts, Wish
from registry.subscriptions.selections import AssetCondition, Selection
from registry.subscriptions.subscriptions import State, Subscription

Key = tuple[int, str, bytes]


async def providers(connection: Any, names: Collection[str]) -> dict[str, ProviderFacts]:
    """Return providers by their names in lower case."""
    rows = await connection.fetch(SQL["subscription_providers"], sorted({name.lower() for name in names}))
    return {row["name"].lower(): _facts(row) for row in rows}


async def hold_providers(connection: Any, code_ids: Collection[int]) -> set[int]:
    """Keep providers from being deleted before the transaction ends; return those that are there."""
    rows = await connection.fetch(SQL["subscription_hold_provider"], sorted(code_ids))
    return {row["code_id"] for row in rows}


async def unknown_symbols(connection: Any, pairs: Sequence[tuple[int, str]]) -> set[int]:
    """Return the positions, from 0, of pairs of provider and symbol that no asset has."""
    ids, symbols = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return _places(await connection.fetch(SQL["subscription_unknown_symbols"], ids, symbols))


async def unknown_common_symbols(connection: Any, symbols: Sequence[str]) -> set[int]:
    """Return the positions, from 0, of common symbols that do not exist."""
    return _places(await connection.fetch(SQL["subscription_unknown_common_symbols"], list(symbols)))


async def unknown_indices(connection: Any, names: Sequence[str]) -> set[int]:
    """Return the positions, from 0, of indices that do not exist."""
    return _places(await connection.fetch(SQL["subscription_unknown_indices"], list(names)))


async def insert(connection: Any, plans: Sequence[Plan], actor: Actor | None, now: dt.datetime) -> dict[Key, uuid.UUID]:
    """Store subscriptions in one statement; return the ids of those that are new, by their keys."""
    wishes = [plan.wish for plan in plans]
    rows = await connection.fetch(
        SQL["subscription_insert"],
        [plan.provider.code_id for plan in plans],
        [wish.provider for wish in wishes],
        [wish.interval for wish in wishes],
        [str(wish.selection.kind) for wish in wishes],
        [wish.selection.label for wish in wishes],
        [wish.selection.key for wish in wishes],
        [wish.selection.document() for wish in wishes],
        [wish.historical for wish in wishes],
        [wish.live for wish in wishes],
        [wish.store_ticks for wish in wishes],
        [",".join(wish.tick_kinds) for wish in wishes],
        [wish.cron for wish in wishes],
        [wish.time_zone for wish in wishes],
        [wish.backfill_start for wish in wishes],
        [wish.note for wish in wishes],
        [wish.paused for wish in wishes],
        now,
        actor_document(actor),
    )
    return {(row["code_id"], row["interval"], row["selection_key"]): row["subscription_id"] for row in rows}


async def by_keys(connection: Any, keys: Sequence[Key]) -> dict[Key, uuid.UUID]:
    """Return the subscriptions that have keys."""
    ids, intervals, hashes = ([key[i] for key in keys] for i in range(3))
    rows = await connection.fetch(SQL["subscription_by_key"], ids, intervals, hashes)
    return {keys[row["place"] - 1]: row["subscription_id"] for row in rows}


async def resolve(connection: Any, ids: Collection[uuid.UUID] | None, now: dt.datetime) -> int:
    """Bring what selections without a filter come down to up to date (None: of all); return the rows that changed."""
    changed: int = await connection.fetchval(SQL["subscription_resolve"], _list(ids), now)
    return changed


async def filtered(connection: Any, ids: Collection[uuid.UUID] | None) -> list[tuple[uuid.UUID, int, AssetCondition]]:
    """Return the subscriptions whose selection has a filter: id, provider, condition."""
    rows = await connection.fetch(SQL["subscription_filtered"], _list(ids))
    found = []
    for row in rows:
        condition = Selection.of({"assets": row["assets"]}).assets
        assert condition is not None
        found.append((row["subscription_id"], row["code_id"], condition))
    return found


async def resolve_filtered(
    connection: Any,
    subscription_id: uuid.UUID,
    code_id: int,
    assets: AssetCondition,
    where: Condition,
    now: dt.datetime,
) -> int:
    """Bring one selection with a filter up to date; the parameters of `where` begin at $7."""
    parts = (assets.asset_classes, assets.exchanges, assets.quote_currencies)
    changed: int = await connection.fetchval(
        filled(SQL["subscription_resolve_filtered"], filter=where.sql),
        subscription_id,
        code_id,
        now,
        *(list(part) or None for part in parts),
        *where.parameters,
    )
    return changed


async def bump_revision(connection: Any) -> None:
    """Note that what is selected changed."""
    await connection.execute(SQL["selection_bump"])


async def revision(connection: Any) -> int:
    """Return the count of changes of what is selected."""
    number: int = await connection.fetchval(SQL["selection_revision"])
    return number


async def take_turn(connection: Any) -> bool:
    """Tell whether nobody else brings all selections up to date at present."""
    return bool(await connection.fetchval(SQL["selection_turn"]))


async def series_total(connection: Any) -> int:
    """Return how many series all subscriptions select together."""
    number: int = await connection.fetchval(SQL["series_total"])
    return number


async def series_of(connection: Any, ids: Collection[uuid.UUID]) -> tuple[int, int]:
    """Return how many series subscriptions select, and how many of these no other one does."""
    row = await connection.fetchrow(SQL["series_of"], _list(ids))
    return row["total"], row["own"]


async def series_released(connection: Any, ids: Collection[uuid.UUID]) -> int:
    """Return how many series are collected because of these subscriptions alone."""
    number: int = await connection.fetchval(SQL["series_released"], _list(ids))
    return number


async def series_keys(connection: Any, ids: Collection[uuid.UUID], limit: int) -> list[tuple[uuid.UUID, str, str, str]]:
    """Return the series of subscriptions: id, provider, symbol, interval."""
    rows = await connection.fetch(SQL["subscription_series_keys"], _list(ids), limit)
    return [tuple(row) for row in rows]


async def by_ids(connection: Any, ids: Collection[uuid.UUID]) -> list[Subscription]:
    """Return subscriptions in no order; those that do not exist are left out."""
    return [subscription(row) for row in await connection.fetch(SQL["subscriptions_by_ids"], _list(ids))]


async def lock(connection: Any, ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Take subscriptions for the rest of the transaction; return those that exist."""
    return {row["subscription_id"] for row in await connection.fetch(SQL["subscription_lock_ids"], _list(ids))}


async def ids_where(connection: Any, where: Condition) -> list[uuid.UUID]:
    """Return the ids of the subscriptions that pass a condition, whose parameters begin at $1."""
    rows = await connection.fetch(filled(SQL["subscription_ids_where"], filter=where.sql), *where.parameters)
    return [row["subscription_id"] for row in rows]


async def marks(connection: Any, where: Condition) -> dict[uuid.UUID, tuple[object, ...]]:
    """Return the subscriptions that pass a condition, each with what changes when it does."""
    rows = await connection.fetch(filled(SQL["subscription_marks"], filter=where.sql), *where.parameters)
    return {row["subscription_id"]: tuple(row)[1:] for row in rows}


async def set_state(
    connection: Any, ids: Collection[uuid.UUID], state: State, reason: str, now: dt.datetime
) -> list[uuid.UUID]:
    """Pause or resume subscriptions; return those that were in the other state."""
    rows = await connection.fetch(SQL["subscription_set_state"], _list(ids), str(state), reason, now)
    return [row["subscription_id"] for row in rows]


async def delete(connection: Any, ids: Collection[uuid.UUID]) -> None:
    """Remove subscriptions."""
    await connection.execute(SQL["subscription_delete"], _list(ids))


async def update(connection: Any, subscription_id: uuid.UUID, plan: Plan, now: dt.datetime) -> None:
    """Change all that can change of one subscription."""
    wish = plan.wish
    await connection.execute(
        SQL["subscription_update"],
        subscription_id,
        wish.interval,
        str(wish.selection.kind),
        wish.selection.label,
        wish.selection.key,
        wish.selection.document(),
        wish.historical,
        wish.live,
        wish.store_ticks,
        wish.cron,
        wish.time_zone,
        wish.backfill_start,
        wish.note,
        now,
        list(wish.tick_kinds),
    )


async def update_all(
    connection: Any, ids: Collection[uuid.UUID], values: Wish, mask: Collection[str], now: dt.datetime
) -> list[uuid.UUID]:
    """Change the fields of a mask of many subscriptions; return those that changed."""
    rows = await connection.fetch(
        SQL["subscription_update_all"],
        _list(ids),
        sorted(mask),
        values.historical,
        values.live,
        values.store_ticks,
        values.cron,
        values.time_zone,
        values.backfill_start,
        values.note,
        now,
        list(values.tick_kinds),
    )
    return [row["subscription_id"] for row in rows]


def subscription(row: Any) -> Subscription:
    """Return the subscription that a row tells of."""
    wish = Wish(
        provider=row["provider"],
        selection=Selection.of(row["selector"]),
        interval=row["interval"],
        historical=row["historical"],
        live=row["live"],
        store_ticks=row["store_ticks"],
        tick_kinds=tuple(row["tick_kinds"]),
        cron=row["cron"],
        time_zone=row["time_zone"],
        backfill_start=row["backfill_start"],
        note=row["note"],
        paused=row["state"] == State.PAUSED,
    )
    return Subscription(
        subscription_id=row["subscription_id"],
        code_id=row["code_id"],
        wish=wish,
        state=State(row["state"]),
        pause_reason=row["pause_reason"],
        provider_active=row["provider_active"],
        series_count=row["series_count"],
        unresolved_count=row["unresolved_count"],
        create_time=row["created_at"],
        update_time=row["updated_at"],
        created_by=actor_of(row["created_by"]),
        revision=row["revision"],
    )


def _facts(row: Any) -> ProviderFacts:
    declaration = Declaration.of(row["manifest"])
    fields = schema(CodeKind.PROVIDER, declaration.capabilities, declaration.fields)
    holds = dict(preferences.leaves(preferences.effective(fields, row["preferences"]).values))
    return ProviderFacts(
        code_id=row["code_id"],
        name=row["name"],
        active=row["active_version"] is not None,
        declaration=declaration,
        preferences=holds,
        has_assets=row["has_assets"],
    )


def _places(rows: Sequence[Any]) -> set[int]:
    return {row["place"] - 1 for row in rows}


def _list(ids: Collection[uuid.UUID] | None) -> list[uuid.UUID] | None:
    return None if ids is None else list(ids)
