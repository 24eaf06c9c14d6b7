"""Which version of an entry runs: activating and deactivating."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from quasar.errors import FailedPrecondition
from quasar.ops.actors import Actor
from registry.code import preferences, sdk
from registry.code.changes import Change, Ground, changing, read_entry, require_uploaded
from registry.code.entries import Entry, Impact, Version
from registry.code.owners import ApplyOutcome, CodeChange, InstanceUse
from registry.code.preference_changes import no_version
from registry.code.refs import CodeKind, CodeRef
from registry.store import code_table


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a change brings along."""

    rule: str
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Activated:
    """What became of an activation."""

    entry: Entry
    former_version: int
    findings: tuple[Finding, ...]
    outcome: ApplyOutcome | None
    """None where nothing was to change."""


async def activate(
    ground: Ground, ref: CodeRef, version: int, etag: str, actor: Actor | None, *, validate_only: bool
) -> Activated:
    """Make a stored version the one that runs; activating the active one changes nothing.

    Raises:
        NotFound: There is no such code or version.
        EtagMismatch: The entry changed since it was read.
        FailedPrecondition: The code is built in, or the version needs an SDK that the platform cannot serve.
    """
    async with changing(ground, ref, etag, actor) as change:
        require_uploaded(change.entry, "activated")
        former = change.entry.active_version or 0
        findings = await _findings(change, version)
        if validate_only:
            await _require_served(change, version)
            return Activated(change.entry, former, findings, None)
        if await activate_in(change, version):
            await code_table.touch(change.connection, change.entry.code_id, change.now)
        entry = await change.present()
    outcome = await ground.owners.apply(CodeChange(entry.ref, version))
    return Activated(entry, former, findings, outcome)


async def activate_in(change: Change, version: int) -> bool:
    """Activate a version of the entry that a transaction holds, with the event; tell whether anything changed."""
    entry, connection = change.entry, change.connection
    found = await code_table.version(connection, entry.code_id, version)
    if found is None:
        raise no_version(entry.ref, version)
    if entry.active_version == version:
        return False
    _require_sdk(found)
    await code_table.set_active(connection, entry.code_id, version, change.now)
    await change.record(
        "CodeActivated",
        f"Version {version} of {entry.ref} was activated.",
        before={"active_version": entry.active_version or 0},
        after={"active_version": version},
    )
    return True


async def _require_served(change: Change, version: int) -> None:
    """Refuse a version that could not be activated."""
    found = await code_table.version(change.connection, change.entry.code_id, version)
    if found is not None and not found.active:
        _require_sdk(found)


def _require_sdk(found: Version) -> None:
    sdk.require_served(found.ref, found.version, str(found.manifest.get("sdk_version", "")), sdk.platform_version())


async def deactivate(
    ground: Ground, ref: CodeRef, etag: str, actor: Actor | None, *, validate_only: bool
) -> tuple[Entry, Impact, ApplyOutcome | None]:
    """Take an entry out of use; everything of it stays stored.

    Raises:
        NotFound: There is no such code.
        EtagMismatch: The entry changed since it was read.
        FailedPrecondition: The code is built in, or strategy instances that use it run.
        ServiceUnavailable: The strategy engine cannot be asked about running instances.
    """
    # The strategy engine is asked by the entry's own name, whatever letters the caller wrote.
    ref = (await read_entry(ground, ref)).ref
    uses = await ground.owners.instances(ref)
    async with changing(ground, ref, etag, actor) as change:
        entry = change.entry
        require_uploaded(entry, "deactivated")
        impact = standing(await code_table.impact(change.connection, entry.code_id), uses)
        if validate_only:
            return entry, impact, None
        require_stopped(ref, uses)
        if entry.active_version is not None:
            await code_table.set_active(change.connection, entry.code_id, None, change.now)
            await code_table.touch(change.connection, entry.code_id, change.now)
            before = {"active_version": entry.active_version}
            await change.record(
                "CodeDeactivated", f"{ref} was deactivated.", before=before, after={"active_version": 0}
            )
        entry = await change.present()
    return entry, impact, await ground.owners.apply(CodeChange(entry.ref, 0))


def standing(impact: Impact, uses: Sequence[InstanceUse]) -> Impact:
    """Return what stands still without the code: nothing of it is deleted."""
    return Impact(
        subscriptions=impact.subscriptions,
        indices=impact.indices,
        instances=tuple(use.instance_id for use in uses)[: code_table.LISTED],
        truncated=impact.truncated or len(uses) > code_table.LISTED,
    )


def require_stopped(ref: CodeRef, uses: Sequence[InstanceUse]) -> None:
    """Refuse a change under running strategy instances.

    Raises:
        FailedPrecondition: Some run; the message names them.
    """
    running = [use.instance_id for use in uses if use.running]
    if running:
        named = ", ".join(running[:10]) + (f" and {len(running) - 10} more" if len(running) > 10 else "")
        raise FailedPrecondition(
            f"{ref} is used by running strategy instances: {named}; stop them first.",
            resource=ref.resource,
            metadata={"instances": ",".join(running[:100])},
        )


async def _findings(change: Change, version: int) -> tuple[Finding, ...]:
    """Return what activating a version brings along."""
    found = await code_table.version(change.connection, change.entry.code_id, version)
    if found is None:
        raise no_version(change.entry.ref, version)
    entry = replace(change.entry, manifest=found.manifest)
    ignored = preferences.effective(entry.fields, entry.preferences).ignored
    findings = [
        Finding("preference-ignored", f"The stored preference {path} does not apply to this version.", "Set it anew.")
        for path in ignored
    ]
    findings += [
        Finding("setting-missing", f"{name} is required and not stored.", "Store it; the code cannot run before.")
        for name in entry.missing
    ]
    if entry.ref.kind is CodeKind.PROVIDER:
        used = await code_table.subscribed_intervals(change.connection, entry.code_id)
        findings += _lost_intervals(entry.declaration.intervals, used)
    return tuple(findings)


def _lost_intervals(offered: Sequence[str], used: Mapping[str, int]) -> list[Finding]:
    if not offered:
        return []
    return [
        Finding(
            "interval-missing",
            f"{count} subscription{'s' if count > 1 else ''} at {interval}, which this version does not offer.",
            f"Move them to one of {', '.join(offered)}.",
        )
        for interval, count in used.items()
        if interval not in offered
    ]


def document_of(entry: Entry) -> Mapping[str, Any]:
    """Return what events tell of an entry before and after a change; no secret is in it."""
    return {
        "active_version": entry.active_version or 0,
        "latest_version": entry.latest_version,
        "preferences": entry.preferences,
        "secret_names": list(entry.secret_names),
    }
