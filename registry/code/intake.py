"""Validating what is uploaded, before anything is stored."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from quasar.errors import AlreadyExists, CodeRejected, FieldViolation, Internal, InvalidArgument
from quasar.plugins.archive import read_sources
from quasar.plugins.manifest import Kind
from quasar.plugins.reading.naming import name_of
from registry.code import preferences, sealing
from registry.code.archives import unpack
from registry.code.changes import Ground
from registry.code.declarations import Declaration
from registry.code.fields import schema
from registry.code.owners import Report, Submission
from registry.code.refs import CodeKind, CodeRef
from registry.store import code_table

_TRIED = ("VALIDATION_STAGE_LOAD", "VALIDATION_STAGE_TRIAL")
"""Stages in which the code runs, and is given its preferences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file that somebody sends, with what is wanted of it."""

    kind: CodeKind
    file_name: str
    content: bytes
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Empty: the stored ones stay."""
    preferences: Mapping[str, Any] | None = None
    """To merge into the stored ones; None: unchanged."""
    activate: bool = False
    validate_only: bool = False
    expected_name: str = ""
    note: str = ""

    @property
    def sha256(self) -> bytes:
        """The SHA-256 of the bytes."""
        return hashlib.sha256(self.content).digest()


async def validate(ground: Ground, upload: Upload) -> Report:
    """Have the owning service validate an upload.

    The trial run is given the secrets of the upload, else the stored ones of the same name.

    Raises:
        InvalidArgument: The archive cannot be read.
        ServiceUnavailable: The validating service does not answer.
        SecretsUnreadable: The stored secrets cannot be opened.
    """
    unpack(upload.file_name, upload.content)
    return await ground.owners.validate(await _submission(ground, upload))


async def _submission(ground: Ground, upload: Upload) -> Submission:
    secrets = upload.secrets or await _stored_secrets(ground, upload)
    return Submission(upload.kind, upload.file_name, upload.content, secrets, upload.preferences)


async def _stored_secrets(ground: Ground, upload: Upload) -> Mapping[str, str]:
    """Return the stored secrets of the name of the class, which is read from the code where nobody told it."""
    async with ground.database.acquire() as connection:
        if not await code_table.has_secrets(connection, upload.kind):
            return {}
    name = upload.expected_name or await asyncio.to_thread(_written_name, upload)
    return await sealing.opened(ground, CodeRef(upload.kind, name)) if name else {}


def _written_name(upload: Upload) -> str:
    texts, _ = read_sources(upload.file_name, upload.content)
    return name_of(Kind(str(upload.kind)), texts)


async def require_preferences(ground: Ground, upload: Upload, report: Report) -> None:
    """Refuse preferences that the uploaded class does not take; without a manifest that cannot be told.

    Raises:
        InvalidArgument: A field is unknown, of the wrong type or out of range.
        ServiceUnavailable: The validating service does not answer.
    """
    if not upload.preferences:
        return
    if report.manifest is None and report.document.get("stage") in _TRIED:
        # The class may have refused the preferences themselves: what it declares is told without them.
        plain = replace(await _submission(ground, upload), preferences=None)
        report = await ground.owners.validate(plain)
    if report.manifest is None:
        return
    declared = Declaration.of(report.manifest)
    ref = CodeRef(upload.kind, declared.name)
    async with ground.database.acquire() as connection:
        entry = await code_table.entry(connection, ref)
    fields = schema(ref.kind, declared.capabilities, declared.fields)
    preferences.merged(fields, entry.preferences if entry else {}, upload.preferences, name=str(ref))


def accepted_name(upload: Upload, report: Report) -> CodeRef:
    """Return the name under which an upload is stored.

    Raises:
        UploadRejected: Validation found an error; the report goes with it.
        InvalidArgument: The class is of another kind.
        AlreadyExists: Another name was expected.
    """
    if not report.passed or report.manifest is None:
        raise rejected(upload.kind, report)
    _require_same_bytes(upload, report)
    name = str(report.manifest.get("name", ""))
    kind = str(report.manifest.get("kind", "")).removeprefix("CODE_KIND_").lower()
    if kind != upload.kind:
        description = f"must be {kind}, as the class is one, was {upload.kind}"
        raise InvalidArgument(f"kind {description}.", violations=[FieldViolation("kind", description)])
    if upload.expected_name and upload.expected_name != name:
        description = f"must be the name of the class, {name!r}, was {upload.expected_name!r}"
        raise AlreadyExists(
            f"expected_name {description}.",
            resource=CodeRef(upload.kind, name).resource,
            violations=[FieldViolation("expected_name", description)],
        )
    return CodeRef(upload.kind, name)


class UploadRejected(CodeRejected):
    """The code did not pass validation."""

    def __init__(self, message: str, report: Report) -> None:
        """Keep the report beside the sentence."""
        super().__init__(message)
        self.report = report


def rejected(kind: CodeKind, report: Report) -> UploadRejected:
    """Return the error for code that did not pass, with its report."""
    found = report.errors
    first = str(found[0].get("message", "")) if found else "validation did not finish"
    place = _place(found[0]) if found else ""
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return UploadRejected(f"The {kind} was not accepted: {place}{first.rstrip('.')}{more}.", report)


def _place(finding: Mapping[str, Any]) -> str:
    file, line = finding.get("file", ""), finding.get("line", 0)
    if not file:
        return ""
    return f"{file}:{line}: " if line else f"{file}: "


def _require_same_bytes(upload: Upload, report: Report) -> None:
    said = report.document.get("sha256", "")
    if said and said != upload.sha256.hex():
        raise Internal("The validating service reported on other bytes than it was sent.")
