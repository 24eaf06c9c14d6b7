"""Indices and their members in the database."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from registry.indices.membership import Member, MembershipDiff
from registry.indices.schedules import SyncSchedule, preferred
from registry.store.statements import SQL


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """A named set of instruments; the fields are columns of `registry.index_details`."""

    index_id: int
    name: str
    type: str
    code_id: int | None
    provider_index: str
    description: str
    sync_frequency: str | None
    """None: as the provider's preference says."""
    sync_cron: str
    sync_time_zone: str
    last_sync_at: dt.datetime | None
    last_sync_state: str
    last_sync_message: str
    next_sync_at: dt.datetime | None
    members_changed_at: dt.datetime | None
    created_at: dt.datetime
    updated_at: dt.datetime
    revision: int
    provider: str
    provider_active: bool
    provider_exists: bool
    preferences: Mapping[str, Any]
    member_count: int
    weight_sum: float | None
    weighted_count: int
    mapped_count: int

    @property
    def of_provider(self) -> bool:
        """Whether a provider decides what it holds."""
        return self.type == "PROVIDER"

    @property
    def schedule(self) -> SyncSchedule | None:
        """When it is synced; None for user indices."""
        if not self.of_provider:
            return None
        if self.sync_frequency is None:
            return preferred(self.preferences)
        return SyncSchedule(self.sync_frequency, self.sync_cron, self.sync_time_zone)


_COLUMNS = tuple(each.name for each in fields(Index))


def index(row: Any) -> Index:
    """Return the index that a row of `registry.index_details` holds."""
    return Index(**{name: row[name] for name in _COLUMNS})


async def find(connection: Any, name: str) -> Index | None:
    """Return an index by its name, without regard to case, or None."""
    row = await connection.fetchrow(SQL["index_one"], name.strip())
    return None if row is None else index(row)


async def named(connection: Any, name: str) -> tuple[int, str] | None:
    """Return the number of an index and its name as it is written, or None; `find` also counts its members."""
    row = await connection.fetchrow(SQL["index_named"], name.strip())
    return None if row is None else (row["index_id"], row["name"])


async def take(connection: Any, name: str) -> Index | None:
    """Return an index and hold it for the rest of the transaction, or None."""
    if await connection.fetchval(SQL["index_lock"], name.strip()) is None:
        return None
    return await find(connection, name)


async def members(connection: Any, index_id: int) -> dict[int, Member]:
    """Return the present members of an index, by key."""
    rows = await connection.fetch(SQL["index_current"], index_id)
    return {
        row["key"]: Member(
            key=row["key"],
            symbol=row["symbol"],
            common_symbol=row["common_symbol"],
            weight=row["weight"],
            name=row["name"],
            asset_class=row["asset_class"],
        )
        for row in rows
    }


async def write(connection: Any, held: Index, diff: MembershipDiff, since: dt.datetime, now: dt.datetime) -> None:
    """Write a difference: only periods that end or begin are touched."""
    if not diff.changes:
        return
    await connection.execute(SQL["index_close"], held.index_id, list(diff.closed), since, held.of_provider)
    opened: Sequence[Member] = diff.opened
    await connection.execute(
        SQL["index_open"],
        held.index_id,
        [member.key for member in opened],
        [member.name for member in opened],
        [member.asset_class for member in opened],
        [member.weight for member in opened],
        since,
        held.of_provider,
    )
    await connection.execute(SQL["index_members_changed"], held.index_id, since, now)
