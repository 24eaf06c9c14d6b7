"""Subscriptions that name what is renamed: they follow, and they hold what is to be deleted."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import asyncpg

from quasar.errors import AlreadyExists, Resource
from registry.store.statements import SQL
from registry.store.texts import lowered
from registry.subscriptions.selections import Selection


async def naming_subscriptions(connection: Any, name: str, *, index: bool) -> list[str]:
    """Return the ids of the subscriptions that name a common symbol, or an index."""
    return [str(row["subscription_id"]) for row in await connection.fetch(SQL["named_subscriptions"], name, index)]


async def rename_in_subscriptions(connection: Any, old: str, new: str, now: dt.datetime, *, index: bool) -> int:
    """Let the subscriptions that name a common symbol, or an index, follow a rename; return how many did.

    Raises:
        AlreadyExists: Another subscription names the new name already.
    """
    rows = await connection.fetch(SQL["named_subscriptions"], old, index)
    for row in rows:
        selection = Selection.of(row["selector"])
        names = tuple(new if lowered(name) == lowered(old) else name for name in selection.names)
        renamed = replace(selection, names=names)
        try:
            await connection.execute(
                SQL["subscription_rename"],
                row["subscription_id"],
                renamed.document(),
                renamed.label,
                list(names),
                renamed.key,
                now,
            )
        except asyncpg.UniqueViolationError:
            raise AlreadyExists(
                f"A subscription names {new!r} already; remove it first.",
                resource=Resource("subscription", str(row["subscription_id"])),
            ) from None
    return len(rows)
