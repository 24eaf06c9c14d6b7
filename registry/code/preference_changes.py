"""Reading and changing the preferences of an entry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quasar.errors import NotFound
from quasar.ops.actors import Actor
from registry.code import preferences
from registry.code.changes import Change, Ground, changing, read_entry, stale
from registry.code.declarations import Declaration
from registry.code.entries import Entry
from registry.code.fields import PreferenceField, schema
from registry.code.owners import ApplyOutcome, CodeChange
from registry.code.refs import CodeRef
from registry.store import code_table


async def update(
    ground: Ground, ref: CodeRef, wanted: Mapping[str, Any], etag: str, actor: Actor | None, *, validate_only: bool
) -> tuple[Entry, Mapping[str, Any], ApplyOutcome | None]:
    """Merge a change into the stored preferences and hand it to the running process.

    Args:
        ground: What the work stands on.
        ref: Whose preferences.
        wanted: The fields to change, nested; None takes a value away.
        etag: Of the preferences as they were read; empty: whatever is stored.
        actor: Who changes them.
        validate_only: Check only; nothing is stored.

    Returns:
        The entry, the preferences that are stored then (or would be), and how the change reached the process.

    Raises:
        NotFound: There is no such code.
        EtagMismatch: The preferences changed since they were read.
        InvalidArgument: A field is unknown, of the wrong type or out of range.
    """
    async with changing(ground, ref, "", actor) as change:
        if etag and etag != change.entry.preferences_etag:
            raise stale(change.entry.ref, etag, change.entry.preferences_etag)
        stored = merge(change.entry, wanted)
        if validate_only:
            return change.entry, stored, None
        await store(change, stored)
        await code_table.touch(change.connection, change.entry.code_id, change.now)
        entry = await change.present()
    outcome = await ground.owners.apply(CodeChange(entry.ref, entry.active_version or 0, preferences_changed=True))
    return entry, entry.preferences, outcome


def merge(entry: Entry, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stored preferences of an entry after a change.

    Raises:
        InvalidArgument: A field is unknown, of the wrong type or out of range.
    """
    return preferences.merged(entry.fields, entry.preferences, wanted, name=str(entry.ref))


async def store(change: Change, stored: Mapping[str, Any]) -> None:
    """Replace the preferences of the entry that a transaction holds, with their event; the same ones change nothing."""
    if stored == change.entry.preferences:
        return
    await code_table.set_preferences(change.connection, change.entry.code_id, stored, change.actor, change.now)
    await change.record(
        "PreferencesUpdated",
        f"The preferences of {change.entry.ref} were changed.",
        before={"preferences": change.entry.preferences},
        after={"preferences": stored},
    )


async def fields(ground: Ground, ref: CodeRef, version: int) -> tuple[tuple[PreferenceField, ...], int]:
    """Return the fields that a version takes, and its number; 0: the active one, else the newest.

    Raises:
        NotFound: There is no such code or version.
    """
    entry = await read_entry(ground, ref)
    if version in (0, entry.manifest_version):
        return entry.fields, entry.manifest_version
    async with ground.database.acquire() as connection:
        found = await code_table.version(connection, entry.code_id, version)
    if found is None:
        raise no_version(entry.ref, version)
    declared = Declaration.of(found.manifest)
    return schema(entry.ref.kind, declared.capabilities, declared.fields), version


def no_version(ref: CodeRef, version: int) -> NotFound:
    """Return the error for a version that does not exist."""
    return NotFound(f"{ref} has no version {version}; list what it has with ListCodeVersions.", resource=ref.resource)
