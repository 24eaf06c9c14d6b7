"""What selections come down to: brought up to date with each change, and looked after from time to time."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Collection
from typing import Any

import asyncpg

from quasar import logs
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.errors import DatabaseUnavailable, DeadlineExceeded, InvalidFilter
from quasar.filters import Condition
from quasar.ops.hints import Hint
from registry.store import code_table
from registry.store import subscription_table as table

LOOK_S = 30.0
"""Assets, mappings and members are looked at this often, where no hint came."""
LEAST_S = 1.0
"""Hints that come in a row are answered together, at most once in this time."""

SUBSCRIPTIONS = "subscriptions"
"""Payload: somebody changed subscriptions."""
SELECTIONS = "selections"
"""Payload: what selections come down to followed a change of assets, mappings or members."""
CHANNEL = "registry_changed"
"""NOTIFY channel: something of the registry changed; the payload says what."""

AssetFilter = Callable[[str, int], Condition]
"""Returns the condition on assets (`registry.asset_details d`) of a filter text; parameters begin at the number."""
_FIRST_PARAMETER = 7
_log = logs.get("registry.subscriptions.upkeep")


def hint_for(*hints: Hint) -> Callable[[str], None]:
    """Return what hears the channel: changes of subscriptions resolve themselves, so only the others give hints."""

    def heard(payload: str) -> None:
        if payload not in (SUBSCRIPTIONS, SELECTIONS):
            for hint in hints:
                hint.give()

    return heard


class Upkeep:
    """Keeps the rows of `subscription_symbols` and `subscription_unresolved`, from which the DataHub reads its work."""

    def __init__(self, database: Database, clock: Clock, asset_filter: AssetFilter) -> None:
        """Keep them in `database`; `asset_filter` understands filters on assets."""
        self._database = database
        self._clock = clock
        self._asset_filter = asset_filter

    def check_filter(self, text: str) -> Condition:
        """Refuse a filter on assets that cannot be understood.

        Raises:
            InvalidFilter: It breaks the grammar or names an unknown field.
        """
        return self._asset_filter(text, _FIRST_PARAMETER)

    async def resolve(self, connection: Any, ids: Collection[uuid.UUID] | None, now: dt.datetime) -> int:
        """Bring selections up to date inside a transaction; None: all of them. Return how many rows changed."""
        changed = await table.resolve(connection, ids, now)
        for subscription_id, code_id, assets in await table.filtered(connection, ids):
            try:
                where = self.check_filter(assets.filter)
            except InvalidFilter as error:
                # A field that an earlier build knew; what was resolved with it stays.
                _log.warning("a filter is not understood", subscription_id=str(subscription_id), problem=error.message)
                continue
            changed += await table.resolve_filtered(connection, subscription_id, code_id, assets, where, now)
        return changed

    async def refresh(self) -> int:
        """Bring all selections up to date in a transaction of its own; return how many rows changed."""
        async with self._database.transaction() as connection:
            if not await table.take_turn(connection):
                return 0
            changed = await self.resolve(connection, None, self._clock.now())
            if changed:
                await code_table.notify(connection, SELECTIONS)
                await table.bump_revision(connection)
        return changed

    async def run(self, hint: Hint) -> None:
        """Follow assets, mappings and members for ever: after each hint, and every 30 s in case one was lost."""
        while True:
            mark = hint.mark()
            try:
                await self.refresh()
            except (DatabaseUnavailable, DeadlineExceeded, asyncpg.PostgresError) as error:
                _log.warning("selections wait for the database", problem=str(error))
            await self._clock.sleep(LEAST_S)
            await hint.after(mark, LOOK_S - LEAST_S)
