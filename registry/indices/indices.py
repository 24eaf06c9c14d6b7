"""Indices by hand: creating, reading, changing, deleting, and the members of user indices."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

import asyncpg

from quasar.errors import AlreadyExists, FailedPrecondition, FieldViolation, InvalidArgument, NotFound, Resource
from quasar.ops.actors import Actor
from registry.ground import Ground, Happening, Undone, actor_document, require_etag
from registry.indices.membership import (
    ADDED,
    REMOVED,
    WEIGHT_CHANGED,
    MembershipDiff,
    difference,
)
from registry.indices.new_members import NewMember, wanted_members
from registry.indices.schedules import SyncSchedule, next_sync, preferred
from registry.mappings.renames import naming_subscriptions, rename_in_subscriptions
from registry.requests import RequestMark
from registry.store import indices as table
from registry.store import mappings as mapping_table
from registry.store.indices import Index
from registry.store.statements import SQL

_MOMENT: Final = dt.timedelta(microseconds=1)
LONGEST_NAME: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexChange:
    """A change of an index; only what `fields` names is changed."""

    name: str
    fields: Sequence[str]
    new_name: str = ""
    description: str = ""
    schedule: SyncSchedule | None = None
    """None: follow the provider's preference."""
    etag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberSave:
    """The members that a user index shall have."""

    index: str
    members: Sequence[NewMember]
    since: dt.datetime | None = None
    etag: str = ""
    allow_empty: bool = False
    validate_only: bool = False


@dataclass(frozen=True, slots=True)
class DeletedIndex:
    """What went with an index, or holds it."""

    members: int
    periods: int
    subscriptions: Sequence[str]
    instances: Sequence[str]


class IndexUsers(Protocol):
    """Who trades by an index."""

    async def running(self, index: str) -> Sequence[str]:
        """Return the ids of the running strategy instances that name an index.

        Raises:
            ServiceUnavailable: The strategy engine does not answer.
        """
        ...


class Indices:
    """The indices of the platform."""

    def __init__(self, ground: Ground, users: IndexUsers) -> None:
        """Work on `ground`; ask `users` before an index goes."""
        self._ground = ground
        self._users = users

    async def reconcile(self) -> None:
        """Let every active index provider have its indices."""
        if not await self._ground.database.fetchval(SQL["index_missing"]):
            return
        async with self._ground.database.transaction() as connection:
            for row in await connection.fetch(SQL["index_reconcile"], self._ground.clock.now()):
                happening = _happening(
                    "IndexCreated", row["name"], "came to be with its provider", {"after": {"type": "PROVIDER"}}
                )
                await self._ground.record(connection, happening, None)
                await self._ground.tell(connection, f"indices/{row['name']}")

    async def get(self, name: str) -> Index:
        """Return an index.

        Raises:
            NotFound: There is none of that name.
        """
        await self.reconcile()
        async with self._ground.database.acquire() as connection:
            found = await table.find(connection, name)
        if found is None:
            raise unknown(name)
        return found

    async def create(
        self,
        name: str,
        description: str,
        members: Sequence[NewMember],
        mark: RequestMark,
        actor: Actor | None,
        *,
        validate_only: bool,
    ) -> Index:
        """Create a user index.

        Raises:
            AlreadyExists: An index has the name.
            NotFound: A member is no common symbol.
            InvalidArgument: A member is given twice, or a weight is wrong.
        """
        name = _checked_name(name)
        now = self._ground.clock.now()
        found: Index | None = None
        with suppress(Undone):
            async with self._ground.database.transaction() as connection:
                await mapping_table.lock(connection)
                answer = await self._ground.requests.first_answer(connection, mark)
                if answer is not None:
                    return await self._held(connection, answer["name"], "")
                number = await connection.fetchval(SQL["index_insert"], name, description, now, actor_document(actor))
                if number is None:
                    raise AlreadyExists(f"There is an index {name!r} already.", resource=Resource("index", name))
                held = await self._held(connection, name, "")
                wanted = await wanted_members(connection, members)
                await table.write(connection, held, difference({}, wanted, now), now, now)
                found = await self._held(connection, name, "")
                data = {"after": {"type": "USER", "members": len(wanted)}}
                await self._ground.record(connection, _happening("IndexCreated", name, "was created", data), actor)
                await self._ground.tell(connection, f"indices/{name}")
                if validate_only:
                    raise Undone
                await self._ground.requests.remember(connection, mark, {"name": name})
        assert found is not None
        return found

    async def update(self, change: IndexChange, actor: Actor | None) -> Index:
        """Change name or description of a user index, or the schedule of a provider index.

        Raises:
            NotFound: There is no such index.
            EtagMismatch: It changed since it was read.
            AlreadyExists: The new name is taken.
            FailedPrecondition: This type of index does not let a field change.
            InvalidArgument: Nothing is to change, or the schedule cannot be read.
        """
        if not change.fields:
            raise _violation("update_mask", "must name name, description or sync_schedule, was empty")
        await self.reconcile()
        async with self._ground.database.transaction() as connection:
            await mapping_table.lock(connection)
            before = await self._held(connection, change.name, change.etag)
            _require_changeable(before, change.fields)
            name = _checked_name(change.new_name) if "name" in change.fields else before.name
            await self._store(connection, before, change, name)
            if name != before.name:
                await rename_in_subscriptions(connection, before.name, name, self._ground.clock.now(), index=True)
            after = await self._held(connection, name, "")
            data = {"before": _facts(before), "after": _facts(after)}
            await self._ground.record(connection, _happening("IndexUpdated", name, "was changed", data), actor)
            await self._ground.tell(connection, f"indices/{name}")
            return after

    async def _store(self, connection: Any, before: Index, change: IndexChange, name: str) -> None:
        now = self._ground.clock.now()
        own, due = _own_schedule(before), before.next_sync_at
        if "sync_schedule" in change.fields:
            own = change.schedule.checked() if change.schedule else None
            failed = before.last_sync_state == "FAILED"
            schedule = own or preferred(before.preferences)
            due = next_sync(schedule, before.last_sync_at, before.created_at, failed=failed)
        description = change.description if "description" in change.fields else before.description
        try:
            async with connection.transaction():
                await connection.execute(
                    SQL["index_update"],
                    before.index_id,
                    name,
                    description,
                    own.frequency if own else None,
                    own.cron if own else "",
                    own.time_zone if own else "",
                    due,
                    now,
                )
        except asyncpg.UniqueViolationError:
            raise AlreadyExists(f"There is an index {name!r} already.", resource=Resource("index", name)) from None

    async def delete(self, name: str, etag: str, actor: Actor | None, *, validate_only: bool) -> DeletedIndex:
        """Delete an index with its members and history.

        Raises:
            NotFound: There is no such index.
            EtagMismatch: It changed since it was read.
            FailedPrecondition: Its provider exists, or a subscription or a running strategy instance names it.
            ServiceUnavailable: The strategy engine does not answer.
        """
        instances = list(await self._users.running((await self.get(name)).name))
        async with self._ground.database.transaction() as connection:
            await mapping_table.lock(connection)
            held = await self._held(connection, name, etag)
            subscriptions = await naming_subscriptions(connection, held.name, index=True)
            periods = await connection.fetchval(SQL["index_period_count"], held.index_id)
            if validate_only:
                return DeletedIndex(held.member_count, periods, subscriptions, instances)
            _require_deletable(held, subscriptions, instances)
            symbols = await connection.fetch(SQL["index_held_symbols"], held.index_id)
            await connection.execute(SQL["index_delete_members"], held.index_id)
            await connection.execute(SQL["index_delete"], held.index_id)
            await mapping_table.sweep(connection, [row["common_symbol_id"] for row in symbols])
            data = {"before": {**_facts(held), "members": held.member_count, "periods": periods}}
            await self._ground.record(connection, _happening("IndexDeleted", held.name, "was deleted", data), actor)
            await self._ground.tell(connection, f"indices/{held.name}")
            return DeletedIndex(held.member_count, periods, (), ())

    async def set_members(self, save: MemberSave, actor: Actor | None) -> tuple[MembershipDiff, Index]:
        """Make the members of a user index those of a save, writing only the difference.

        Raises:
            NotFound: There is no such index, or a member is no common symbol.
            EtagMismatch: It changed since it was read.
            FailedPrecondition: It is a provider index.
            InvalidArgument: A member is given twice, a weight is wrong, the list is empty without that being
                confirmed, or the time is in the future or before the last change.
        """
        now = self._ground.clock.now()
        async with self._ground.database.transaction() as connection:
            await mapping_table.lock(connection)
            held = await self._held(connection, save.index, save.etag)
            if held.of_provider:
                raise FailedPrecondition(
                    f"The members of {held.name!r} come from the provider {held.provider!r}; sync it instead.",
                    resource=Resource("index", held.name),
                )
            if not save.members and not save.allow_empty:
                raise _violation("members", "must not be empty unless allow_empty is set, was empty")
            since = effective(held, save.since, now, "effective_time")
            wanted = await wanted_members(connection, save.members)
            diff = difference(await table.members(connection, held.index_id), wanted, since)
            if save.validate_only or not diff.changes:
                return diff, held
            await table.write(connection, held, diff, since, now)
            happening = _happening("IndexMembersChanged", held.name, "has other members", diff_facts(diff))
            await self._ground.record(connection, happening, actor)
            await self._ground.tell(connection, f"indices/{held.name}")
            return diff, await self._held(connection, held.name, "")

    async def _held(self, connection: Any, name: str, etag: str) -> Index:
        """Return an index and hold it for the rest of the transaction."""
        found = await table.take(connection, name)
        if found is None:
            raise unknown(name)
        require_etag(etag, found.revision, Resource("index", found.name))
        return found


def unknown(name: str) -> NotFound:
    """Return the error for an index that does not exist."""
    return NotFound(
        f"There is no index {name!r}; list what there is with ListIndices.", resource=Resource("index", name)
    )


def effective(held: Index, wished: dt.datetime | None, now: dt.datetime, field: str) -> dt.datetime:
    """Return since when a change holds: never before the last one.

    Raises:
        InvalidArgument: The wished time is in the future or before the last change.
    """
    last = held.members_changed_at
    if wished is None:
        return now if last is None or now > last else last + _MOMENT
    if wished > now:
        raise _violation(field, f"must not be in the future, was {wished.isoformat()}")
    if last is not None and wished < last:
        raise _violation(field, f"must not be before the last change ({last.isoformat()}), was {wished.isoformat()}")
    return wished


def diff_facts(diff: MembershipDiff) -> dict[str, Any]:
    """Return what an event tells of a difference."""
    return {
        "added": diff.count(ADDED),
        "removed": diff.count(REMOVED),
        "weight_changed": diff.count(WEIGHT_CHANGED),
        "unchanged": diff.unchanged,
        "changes": [
            {
                "change": each.change,
                "symbol": each.symbol,
                "weight_before": each.weight_before,
                "weight_after": each.weight_after,
            }
            for each in diff.changes[:1000]
        ],
    }


def _require_changeable(held: Index, fields: Sequence[str]) -> None:
    fixed = ("name", "description") if held.of_provider else ("sync_schedule",)
    for field in fields:
        if field in fixed:
            kind = "provider" if held.of_provider else "user"
            raise FailedPrecondition(
                f"{field} of {held.name!r} cannot be changed, for it is a {kind} index.",
                resource=Resource("index", held.name),
            )


def _require_deletable(held: Index, subscriptions: Sequence[str], instances: Sequence[str]) -> None:
    reasons = []
    if held.of_provider and held.provider_exists:
        reasons.append(f"its provider {held.provider!r} exists")
    if subscriptions:
        reasons.append(f"the subscriptions {', '.join(subscriptions[:10])} name it")
    if instances:
        reasons.append(f"the running instances {', '.join(instances[:10])} name it")
    if reasons:
        raise FailedPrecondition(
            f"The index {held.name!r} cannot be deleted: {'; '.join(reasons)}.", resource=Resource("index", held.name)
        )


def _own_schedule(held: Index) -> SyncSchedule | None:
    if held.sync_frequency is None:
        return None
    return SyncSchedule(held.sync_frequency, held.sync_cron, held.sync_time_zone)


def _checked_name(text: str) -> str:
    name = text.strip()
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise _violation("name", f"must have 1 to {LONGEST_NAME} printable characters, was {text[:80]!r}")
    return name


def _facts(held: Index) -> dict[str, Any]:
    return {
        "name": held.name,
        "description": held.description,
        "sync_frequency": held.sync_frequency,
        "sync_cron": held.sync_cron,
        "sync_time_zone": held.sync_time_zone,
    }


def _happening(kind: str, name: str, what: str, data: Mapping[str, Any]) -> Happening:
    return Happening(kind=kind, message=f"The index {name} {what}.", subject_type="index", subject_name=name, data=data)


def _violation(field: str, description: str) -> InvalidArgument:
    return InvalidArgument(f"{field} {description}.", violations=[FieldViolation(field, description)])
