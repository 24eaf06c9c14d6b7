"""Uploading code: version, secrets, preferences and activation are stored together or not at all."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from quasar.errors import Aborted, AlreadyExists
from quasar.ops.actors import Actor
from registry.code import activation, archives, preference_changes, sealing
from registry.code.changes import Change, Ground
from registry.code.entries import Entry, Version
from registry.code.intake import Upload, accepted_name, require_preferences, validate
from registry.code.owners import ApplyOutcome, CodeChange, Report
from registry.code.refs import CodeKind, CodeRef
from registry.requests import RequestMark
from registry.store import code_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """What became of an upload."""

    entry: Entry | None = None
    """None where only validation was asked for."""
    version: Version | None = None
    report: Report
    created_code: bool = False
    created_version: bool = False
    outcome: ApplyOutcome | None = None
    """How it reached the process; None when nothing that runs changed."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """What a transaction stored."""

    ref: CodeRef
    version: int
    created_code: bool
    created_version: bool
    change: CodeChange | None = None
    """What the owner has to be told; None: nothing."""


async def upload(ground: Ground, given: Upload, mark: RequestMark, actor: Actor | None) -> Uploaded:
    """Validate an upload and store it as a version.

    The same bytes as those of a stored version are not stored again, and not validated again: that version is taken.

    Raises:
        CodeRejected: Validation found an error.
        AlreadyExists: The name belongs to built-in code, differs from a stored one in letter case only, or is not the
            one that was expected; or the request id was used for another request.
        ServiceUnavailable: The validating service does not answer; nothing is stored.
        InvalidArgument: The archive, a preference or a secret cannot be taken.
    """
    if (repeated := await _repeated(ground, mark)) is not None:
        return await _told(ground, repeated, None)
    if given.validate_only:
        report = await validate(ground, given)
        await require_preferences(ground, given, report)
        if report.passed:
            accepted_name(given, report)
        return Uploaded(report=report)
    ref, accepted = await _version_with_bytes(ground, given), None
    if ref is None:
        accepted = await validate(ground, given)
        await require_preferences(ground, given, accepted)
        ref = accepted_name(given, accepted)
    stored = await _store(ground, given, ref, accepted, mark, actor)
    outcome = await ground.owners.apply(stored.change) if stored.change is not None else None
    return await _told(ground, stored, outcome)


async def _repeated(ground: Ground, mark: RequestMark) -> _Stored | None:
    """Return what the same request stored before."""
    if not mark.request_id:
        return None
    async with ground.database.transaction() as connection:
        answer = await ground.requests.first_answer(connection, mark)
    return None if answer is None else _of_answer(answer)


async def _version_with_bytes(ground: Ground, given: Upload) -> CodeRef | None:
    async with ground.database.acquire() as connection:
        found = await code_table.version_by_bytes(connection, given.kind, given.sha256)
    if found is None:
        return None
    ref = CodeRef(given.kind, found[0])
    if given.expected_name and given.expected_name != ref.name:
        manifest = {"kind": f"CODE_KIND_{given.kind.upper()}", "name": ref.name}
        accepted_name(given, Report({"passed": True, "manifest": manifest}))
    return ref


async def _store(
    ground: Ground, given: Upload, ref: CodeRef, report: Report | None, mark: RequestMark, actor: Actor | None
) -> _Stored:
    now = ground.clock.now()
    async with ground.database.transaction() as connection:
        answer = await ground.requests.first_answer(connection, mark)
        if answer is not None:
            return _of_answer(answer)
        code_id, created_code = await _claim(connection, ref, actor, now)
        known = await code_table.number_by_bytes(connection, code_id, given.sha256)
        version = known or await _insert(connection, code_id, given, report, actor, now)
        entry = await code_table.entry(connection, ref)
        assert entry is not None
        change = Change(ground, connection, entry, now, actor)
        if known is None:
            await _tell_upload(change, version, given)
        applied = await _settings(change, given, version)
        if known is None or applied is not None:
            await code_table.touch(connection, code_id, now)
        stored = _Stored(ref, version, created_code, known is None, applied)
        await ground.requests.remember(connection, mark, _answer(stored))
    return stored


async def _claim(connection: Any, ref: CodeRef, actor: Actor | None, now: dt.datetime) -> tuple[int, bool]:
    """Take the name for the rest of the transaction; return its id and whether it is new."""
    before = await code_table.lock(connection, ref)
    held = before or await code_table.claim(connection, ref, actor, now, built_in=False)
    if held.built_in:
        raise AlreadyExists(f"{ref} comes with the platform; give the class another name.", resource=ref.resource)
    if held.deleted:
        await code_table.revive(connection, held.code_id, ref.name, actor, now)
    elif held.name != ref.name:
        raise AlreadyExists(
            f"A {ref.kind} {held.name!r} exists, whose name differs from {ref.name!r} in letter case only; "
            "give the class exactly that name, or another one.",
            resource=CodeRef(ref.kind, held.name).resource,
        )
    # Somebody else may have created it between the two looks.
    created = before is None and await code_table.version_count(connection, held.code_id) == 0
    return held.code_id, created or held.deleted


async def _insert(
    connection: Any, code_id: int, given: Upload, report: Report | None, actor: Actor | None, now: dt.datetime
) -> int:
    if report is None or report.manifest is None:
        raise Aborted("The version with these bytes was deleted while it was uploaded again; repeat the upload.")
    new = code_table.NewVersion(
        sha256=given.sha256,
        file_name=given.file_name,
        source=given.content,
        file_count=len(archives.unpack(given.file_name, given.content)),
        manifest=report.manifest,
        report=report.document,
        note=given.note,
    )
    return await code_table.insert_version(connection, code_id, new, actor, now)


async def _tell_upload(change: Change, version: int, given: Upload) -> None:
    after = {"version": version, "sha256": given.sha256.hex(), "file_name": given.file_name, "note": given.note}
    former = max(version - 1, 0) or None
    await change.record(
        "CodeUploaded",
        f"Version {version} of {change.entry.ref} was uploaded.",
        before={"version": former} if former else None,
        after=after,
    )


async def _settings(change: Change, given: Upload, version: int) -> CodeChange | None:
    """Store secrets, preferences and activation; return what the owner has to be told."""
    entry, connection = change.entry, change.connection
    if given.secrets:
        sealing.check(entry.ref, given.secrets, ())
        await sealing.store(change, given.secrets)
    if given.preferences:
        uploaded = await code_table.version(connection, entry.code_id, version)
        assert uploaded is not None
        stored = preference_changes.merge(replace(entry, manifest=uploaded.manifest), given.preferences)
        await preference_changes.store(change, stored)
    activated = given.activate and await activation.activate_in(change, version)
    if not (given.secrets or given.preferences or activated):
        return None
    active = version if given.activate else entry.active_version or 0
    return CodeChange(entry.ref, active, bool(given.secrets), bool(given.preferences))


async def _told(ground: Ground, stored: _Stored, outcome: ApplyOutcome | None) -> Uploaded:
    async with ground.database.acquire() as connection:
        entry = await code_table.entry(connection, stored.ref)
        version = None if entry is None else await code_table.version(connection, entry.code_id, stored.version)
    if entry is None or version is None:
        raise stored.ref.not_found()
    return Uploaded(
        entry=entry,
        version=version,
        report=Report(version.report),
        created_code=stored.created_code,
        created_version=stored.created_version,
        outcome=outcome,
    )


def _answer(stored: _Stored) -> Mapping[str, Any]:
    return {
        "kind": str(stored.ref.kind),
        "name": stored.ref.name,
        "version": stored.version,
        "created_code": stored.created_code,
        "created_version": stored.created_version,
    }


def _of_answer(answer: Mapping[str, Any]) -> _Stored:
    ref = CodeRef(CodeKind(answer["kind"]), answer["name"])
    return _Stored(ref, answer["version"], answer["created_code"], answer["created_version"])
