"""Deleting code, with a look at what would be lost first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from quasar.errors import FailedPrecondition
from quasar.ops.actors import Actor
from registry.code.activation import document_of, require_stopped
from registry.code.changes import Ground, changing, read_entry, require_uploaded
from registry.code.entries import Impact
from registry.code.owners import ApplyOutcome, CodeChange, InstanceUse
from registry.code.refs import CodeKind, CodeRef
from registry.store import code_table


async def delete(
    ground: Ground, ref: CodeRef, etag: str, actor: Actor | None, *, validate_only: bool, force: bool
) -> tuple[Impact, ApplyOutcome | None]:
    """Delete an entry with its versions, secrets, preferences, assets, mappings, subscriptions and stopped instances.

    Market data, orders, fills, the history of indices and events stay.

    Returns:
        What is lost, and how the deletion reached the process; None where nothing was deleted.

    Raises:
        NotFound: There is no such code.
        EtagMismatch: The entry changed since it was read.
        FailedPrecondition: The code is built in, instances run, or something would be lost and `force` is not set.
        ServiceUnavailable: The strategy engine cannot be asked about running instances.
    """
    # The other services are asked by the entry's own name, whatever letters the caller wrote.
    ref = (await read_entry(ground, ref)).ref
    uses = await ground.owners.instances(ref)
    series = await ground.owners.series_count(ref) if ref.kind is CodeKind.PROVIDER else None
    async with changing(ground, ref, etag, actor) as change:
        entry = change.entry
        require_uploaded(entry, "deleted")
        impact = _with_instances(await code_table.impact(change.connection, entry.code_id), uses)
        impact = replace(impact, series_kept=series)
        if validate_only:
            return impact, None
        require_stopped(ref, uses)
        if impact.loses_something and not force:
            raise _would_lose(ref, impact)
        for use in uses:
            if use.runs_it:
                await ground.owners.delete_instance(use.instance_id)
        await code_table.delete(change.connection, entry.code_id, change.now)
        data = {**document_of(entry), "impact": asdict(impact)}
        await change.record("CodeDeleted", f"{ref} was deleted.", before=data)
    return impact, await ground.owners.apply(CodeChange(entry.ref, 0))


def _with_instances(impact: Impact, uses: Sequence[InstanceUse]) -> Impact:
    names = tuple(use.instance_id for use in uses)
    return replace(
        impact,
        instances=names[: code_table.LISTED],
        truncated=impact.truncated or len(names) > code_table.LISTED,
    )


def _would_lose(ref: CodeRef, impact: Impact) -> FailedPrecondition:
    counts = {
        "subscriptions": impact.subscriptions,
        "mappings": impact.mappings,
        "secrets": len(impact.secret_names),
        "instances": len(impact.instances),
    }
    lost = ", ".join(f"{count} {noun}" for noun, count in counts.items() if count)
    return FailedPrecondition(
        f"Deleting {ref} would lose {lost}; look at the list with validate_only, then set force.",
        resource=ref.resource,
        metadata={noun: str(count) for noun, count in counts.items()},
    )
