"""The tables of code: rows in, values out. Every method works on the connection that it is given."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quasar.filters import Condition
from quasar.ops.actors import Actor
from registry.code.entries import Entry, Impact, Usage, Version
from registry.code.refs import CodeKind, CodeRef
from registry.store.actors import actor_document, actor_of
from registry.store.ordering import Ordering
from registry.store.statements import SQL

ORDER_BY_NAME = "c.kind, c.name"
LISTED = 1000
"""Names that an impact lists at most."""


@dataclass(frozen=True, slots=True)
class Locked:
    """An entry's row while a transaction holds it."""

    code_id: int
    name: str
    built_in: bool
    deleted: bool


@dataclass(frozen=True, slots=True)
class SealedSecrets:
    """The secrets of an entry as they are stored."""

    version: int
    sealed: bytes
    names: tuple[str, ...] = ()
    update_time: dt.datetime | None = None


async def entries(
    connection: Any, where: Condition, ordering: Ordering, key: Sequence[str | int] | None, limit: int
) -> tuple[list[Entry], list[list[str]]]:
    """Return entries that pass `where` (its parameters begin at $2) after a place, and the place of each."""
    after = ordering.after(key, first_parameter=2 + len(where.parameters))
    statement = SQL["code_entries"].format(
        key=ordering.key, filter=f"{where.sql} and {after.sql}", order=ordering.clause
    )
    rows = await connection.fetch(statement, limit, *where.parameters, *after.parameters)
    return [_entry(row) for row in rows], [row["order_key"] for row in rows]


async def entry(connection: Any, ref: CodeRef) -> Entry | None:
    """Return one entry by its name, in any letter case."""
    statement = SQL["code_entries"].format(
        key="'{}'::text[]", filter="c.kind = $2 and lower(c.name) = lower($3)", order=ORDER_BY_NAME
    )
    row = await connection.fetchrow(statement, 1, str(ref.kind), ref.name)
    return None if row is None else _entry(row)


async def count(connection: Any, where: Condition) -> int:
    """Return how many entries pass `where`, whose parameters begin at $1."""
    total: int = await connection.fetchval(SQL["code_count"].format(filter=where.sql), *where.parameters)
    return total


async def lock(connection: Any, ref: CodeRef) -> Locked | None:
    """Take an entry for the rest of the transaction; a deleted one too."""
    row = await connection.fetchrow(SQL["code_lock"], str(ref.kind), ref.name)
    if row is None:
        return None
    return Locked(row["code_id"], row["name"], row["built_in"], row["deleted_at"] is not None)


async def claim(connection: Any, ref: CodeRef, actor: Actor | None, now: dt.datetime, *, built_in: bool) -> Locked:
    """Take a name for the rest of the transaction, creating it when it is new."""
    await connection.execute(SQL["code_insert"], str(ref.kind), ref.name, built_in, actor_document(actor), now)
    found = await lock(connection, ref)
    assert found is not None
    return found


async def revive(connection: Any, code_id: int, name: str, actor: Actor | None, now: dt.datetime) -> None:
    """Use the name of a deleted entry again."""
    await connection.execute(SQL["code_revive"], code_id, name, actor_document(actor), now)


async def touch(connection: Any, code_id: int, now: dt.datetime) -> None:
    """Note that an entry changed, which changes its etag."""
    await connection.execute(SQL["code_touch"], code_id, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVersion:
    """A version to store."""

    sha256: bytes
    file_name: str
    source: bytes
    file_count: int
    manifest: Mapping[str, Any]
    report: Mapping[str, Any]
    note: str


async def insert_version(connection: Any, code_id: int, new: NewVersion, actor: Actor | None, now: dt.datetime) -> int:
    """Store a version and return its number."""
    number: int = await connection.fetchval(
        SQL["code_insert_version"],
        code_id,
        new.sha256,
        new.file_name,
        new.source,
        len(new.source),
        new.file_count,
        dict(new.manifest),
        dict(new.report),
        new.note,
        now,
        actor_document(actor),
    )
    return number


async def put_built_in(
    connection: Any,
    code_id: int,
    *,
    sha256: bytes,
    file_name: str,
    size_bytes: int,
    manifest: Mapping[str, Any],
    now: dt.datetime,
) -> bool:
    """Store what the platform's build says of built-in code; tell whether that is new."""
    changed = await connection.fetchval(
        SQL["code_put_built_in"], code_id, sha256, file_name, size_bytes, dict(manifest), now
    )
    await connection.execute(SQL["code_put_built_in_active"], code_id)
    return changed is not None


async def version_by_bytes(connection: Any, kind: CodeKind, sha256: bytes) -> tuple[str, int] | None:
    """Return name and number of the version that has these bytes."""
    row = await connection.fetchrow(SQL["code_version_by_bytes"], str(kind), sha256)
    return None if row is None else (row["name"], row["version"])


async def number_by_bytes(connection: Any, code_id: int, sha256: bytes) -> int | None:
    """Return the number of an entry's version that has these bytes."""
    number: int | None = await connection.fetchval(SQL["code_number_by_bytes"], code_id, sha256)
    return number


async def versions(
    connection: Any, code_id: int, *, below: int | None, limit: int, without_output: bool = True
) -> list[Version]:
    """Return versions, newest first."""
    rows = await connection.fetch(SQL["code_versions"], code_id, below, limit, without_output)
    return [_version(row) for row in rows]


async def version(connection: Any, code_id: int, number: int) -> Version | None:
    """Return one version with its whole report."""
    found = await versions(connection, code_id, below=number + 1, limit=1, without_output=False)
    return found[0] if found and found[0].version == number else None


async def version_count(connection: Any, code_id: int) -> int:
    """Return how many versions are stored."""
    number: int = await connection.fetchval(SQL["code_version_numbers"], code_id)
    return number


async def source(connection: Any, code_id: int, number: int) -> bytes:
    """Return the uploaded bytes of a version; empty for built-in code."""
    return bytes(await connection.fetchval(SQL["code_source"], code_id, number) or b"")


async def set_active(connection: Any, code_id: int, number: int | None, now: dt.datetime) -> None:
    """Make a version the active one; None: none is."""
    await connection.execute(SQL["code_set_active"], code_id, number)
    if number is not None:
        await connection.execute(SQL["code_mark_activated"], code_id, number, now)


async def set_preferences(
    connection: Any, code_id: int, stored: Mapping[str, Any], actor: Actor | None, now: dt.datetime
) -> None:
    """Store preferences."""
    await connection.execute(SQL["code_set_preferences"], code_id, dict(stored), now, actor_document(actor))


async def secrets(connection: Any, code_id: int) -> SealedSecrets | None:
    """Return the sealed secrets of an entry."""
    row = await connection.fetchrow(SQL["code_secrets"], code_id)
    if row is None:
        return None
    return SealedSecrets(row["version"], row["sealed"], tuple(row["names"]), row["updated_at"])


async def secrets_of(connection: Any, ref: CodeRef) -> tuple[CodeRef, SealedSecrets] | None:
    """Return the sealed secrets of a name and the name as it is spelled there."""
    row = await connection.fetchrow(SQL["code_secrets_of"], str(ref.kind), ref.name)
    return None if row is None else (CodeRef(ref.kind, row["name"]), SealedSecrets(row["version"], row["sealed"]))


async def has_secrets(connection: Any, kind: CodeKind) -> bool:
    """Tell whether anything of a kind has secrets."""
    return bool(await connection.fetchval(SQL["code_has_secrets"], str(kind)))


async def next_secret_version(connection: Any, code_id: int) -> int:
    """Return the number that the next replacement of the secrets is bound to."""
    number: int = await connection.fetchval(SQL["code_next_secret_version"], code_id)
    return number


async def put_secrets(
    connection: Any, code_id: int, sealed: SealedSecrets, actor: Actor | None, now: dt.datetime
) -> None:
    """Replace the secrets of an entry."""
    await connection.execute(
        SQL["code_put_secrets"],
        code_id,
        sealed.version,
        sealed.sealed,
        list(sealed.names),
        now,
        actor_document(actor),
    )


async def usage(connection: Any, code_id: int) -> Usage:
    """Count what uses an entry, as far as the registry knows."""
    return Usage(**dict(await connection.fetchrow(SQL["code_usage"], code_id)))


async def impact(connection: Any, code_id: int) -> Impact:
    """Return what deleting an entry takes away, as far as the registry knows."""
    counts = dict(await connection.fetchrow(SQL["code_impact"], code_id))
    symbols = [row["symbol"] for row in await connection.fetch(SQL["code_orphaned_symbols"], code_id, LISTED + 1)]
    indices = [row["name"] for row in await connection.fetch(SQL["code_indices"], code_id, LISTED + 1)]
    return Impact(
        **{**counts, "secret_names": tuple(counts["secret_names"])},
        common_symbols=tuple(symbols[:LISTED]),
        indices=tuple(indices[:LISTED]),
        truncated=len(symbols) > LISTED or len(indices) > LISTED,
    )


async def subscribed_intervals(connection: Any, code_id: int) -> dict[str, int]:
    """Return the intervals of which subscriptions fetch history, and how many subscriptions that are."""
    rows = await connection.fetch(SQL["subscribed_intervals"], code_id)
    return {row["interval"]: row["subscriptions"] for row in rows}


async def delete(connection: Any, code_id: int, now: dt.datetime) -> None:
    """Delete an entry and everything that belongs to it. Its row stays, so that its versions are counted on."""
    await connection.execute(SQL["code_delete_subscriptions"], code_id)
    orphans = await connection.fetchval(SQL["code_delete_mappings"], code_id)
    await connection.execute(SQL["code_delete_orphans"], orphans or [])
    await connection.execute(SQL["code_delete_assets"], code_id)
    await connection.execute(SQL["code_vanish_assets"], code_id, now)
    await connection.execute(SQL["code_delete_secrets"], code_id)
    await connection.execute(SQL["code_mark_deleted"], code_id, now)
    await connection.execute(SQL["code_delete_versions"], code_id)
    await connection.execute(SQL["selection_bump"])


async def notify(connection: Any, subject: str) -> None:
    """Tell whoever lives on the registry's tables that something changed, once the transaction is committed."""
    await connection.execute(SQL["registry_changed"], subject)


def _entry(row: Any) -> Entry:
    return Entry(
        code_id=row["code_id"],
        ref=CodeRef(CodeKind(row["kind"]), row["name"]),
        built_in=row["built_in"],
        active_version=row["active_version"],
        latest_version=row["latest_version"],
        version_count=row["version_count"],
        manifest=row["manifest"],
        manifest_version=row["manifest_version"],
        preferences=row["preferences"],
        preferences_revision=row["preferences_revision"],
        preferences_time=row["preferences_set_at"],
        preferences_actor=actor_of(row["preferences_set_by"]),
        secret_names=tuple(row["secret_names"]),
        revision=row["revision"],
        create_time=row["created_at"],
        update_time=row["updated_at"],
        created_by=actor_of(row["created_by"]),
    )


def _version(row: Any) -> Version:
    return Version(
        ref=CodeRef(CodeKind(row["kind"]), row["name"]),
        version=row["version"],
        active=bool(row["active"]),
        sha256=row["sha256"].hex(),
        file_name=row["file_name"],
        size_bytes=row["size_bytes"],
        file_count=row["file_count"],
        manifest=row["manifest"],
        report=row["shown_report"],
        create_time=row["created_at"],
        created_by=actor_of(row["created_by"]),
        activate_time=row["activated_at"],
        note=row["note"],
    )
