"""The operation `identities.import`: a manifest becomes a new version of its name, together or not at all."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from quasar.errors import DatabaseUnavailable, FailedPrecondition, InvalidArgument, QuasarError
from quasar.ops.actors import Actor
from quasar.ops.operation_context import OperationContext
from quasar.ops.operations import Operation
from registry.ground import Ground, Happening, Undone, actor_document, actor_of
from registry.identities.files import format_of, read_manifest
from registry.identities.rows import ManifestReader, RejectedIdentity
from registry.identities.uploads import Uploads
from registry.matching.report import MatchReport
from registry.running import Work
from registry.store import identities as table
from registry.store.identities import MergedIdentities
from registry.store.statements import SQL

KIND: Final = "identities.import"
REPORTED: Final = 1000
"""Refused rows that a result holds; all are stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One version of an imported list."""

    name: str
    version: int
    current: bool
    file_name: str
    format: str
    mode: str
    sha256: bytes
    size_bytes: int
    rows: int
    added: int
    updated: int
    unchanged: int
    withdrawn: int
    rejected: int
    created_at: dt.datetime
    created_by: Actor | None
    manifest_id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRequest:
    """What to import."""

    name: str
    content: bytes | None
    """None: the bytes are in the upload."""
    upload_id: uuid.UUID | None
    format: str
    """Empty: told from the file's name."""
    file_name: str
    snapshot: bool
    default_class: str
    columns: Mapping[str, str]
    match_assets: bool
    validate_only: bool
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import did, or would do."""

    manifest: Manifest
    rejections: tuple[RejectedIdentity, ...] = ()
    already_imported: bool = False
    match: MatchReport | None = None


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A manifest that was read."""

    reader: ManifestReader
    unknown_columns: tuple[str, ...]


class Imports:
    """Begins and does imports of identities."""

    def __init__(
        self, ground: Ground, uploads: Uploads, match_all: Callable[[OperationContext], Awaitable[MatchReport]]
    ) -> None:
        """Read files from `uploads`; run the matcher with `match_all` where an import asks for it."""
        self._ground = ground
        self._uploads = uploads
        self._match_all = match_all

    async def begin(self, request: ImportRequest, actor: Actor | None) -> Operation:
        """Begin an import.

        Raises:
            NotFound: The upload does not exist or has expired.
            FailedPrecondition: Parts are missing, or another import of the name is running.
            InvalidArgument: The format cannot be told.
        """
        repeated = await self._ground.running.repeated(KIND, request.name, request.request_id)
        if repeated is not None:
            return repeated
        file_name = request.file_name
        if request.upload_id is not None:
            file_name = file_name or (await self._uploads.require_whole(request.upload_id)).file_name
        kind = format_of(file_name, request.format)
        upload_id = request.upload_id or await self._uploads.keep(
            request.name, file_name, request.content or b"", request.request_id, actor
        )
        document: dict[str, Any] = {
            "name": request.name,
            "upload_id": str(upload_id),
            "file_name": file_name,
            "format": kind,
            "snapshot": request.snapshot,
            "default_class": request.default_class,
            "columns": dict(request.columns),
            "match_assets": request.match_assets,
            "validate_only": request.validate_only,
            "in_message": request.upload_id is None,
        }
        work = Work(
            kind=KIND,
            subject_type="identities",
            subject=request.name,
            request=document,
            actor=actor,
            request_id=request.request_id,
            conflicts=((KIND, request.name),),
        )
        try:
            return await self._ground.running.begin(work)
        except QuasarError:
            if request.upload_id is None and not request.request_id:
                await self._uploads.discard(upload_id)
            raise

    async def run(self, context: OperationContext) -> Imported:
        """Do an import that was begun.

        Raises:
            FailedPrecondition: Parts are missing, the SHA-256 differs, or no row of the file is good.
            InvalidArgument: The bytes are not of the format.
        """
        request = context.request
        upload_id = uuid.UUID(request["upload_id"])
        in_message = request.get("in_message", True)
        try:
            found = await self._import(context, upload_id)
        except DatabaseUnavailable:
            raise  # the import goes on when the database is back
        except QuasarError:
            if in_message:
                await self._uploads.discard(upload_id)
            raise
        if in_message or not request["validate_only"]:
            await self._uploads.discard(upload_id)
        return found

    async def _import(self, context: OperationContext, upload_id: uuid.UUID) -> Imported:
        request = context.request
        context.progress("reading", unit="rows")
        finished = await self._uploads.read(upload_id)
        same = await self._same(request, finished.content)
        if same is None:
            parsed = await asyncio.to_thread(_parse, finished.content, request)
            context.progress(
                "merging", done=0, total=parsed.reader.read, counters={"rejected": len(parsed.reader.rejections)}
            )
            if parsed.unknown_columns:
                context.progress(f"merging; ignored columns: {', '.join(parsed.unknown_columns)[:200]}")
            found = await self._store(context, parsed, finished.content)
        else:
            found = Imported(manifest=same, already_imported=True)
        if request["match_assets"] and not request["validate_only"]:
            context.progress("matching")
            found = replace(found, match=await self._match_all(context))
        return found

    async def _same(self, request: Mapping[str, Any], content: bytes) -> Manifest | None:
        """Return the current version when it was made of the same bytes in the same way."""
        row = await self._ground.database.fetchrow(SQL["identity_manifest_current"], request["name"])
        if row is None or row["sha256"] != hashlib.sha256(content).digest() or row["mode"] != _mode(request):
            return None
        # Versions of before this was kept do not tell how their columns were read.
        read_alike = row["settings"] in (None, _settings(request))
        return manifest(row, current=True) if read_alike else None

    async def _store(self, context: OperationContext, parsed: _Parsed, content: bytes) -> Imported:
        request, reader = context.request, parsed.reader
        if not reader.rows:
            first = reader.rejections[0].message if reader.rejections else "it has no rows"
            raise FailedPrecondition(
                f"The manifest must have at least one good row; {len(reader.rejections)} were refused, "
                f"the first because: {first}."
            )
        found: Imported | None = None
        with suppress(Undone):
            async with self._ground.database.transaction() as connection:
                found = await self._store_in(connection, context, reader, content)
                if request["validate_only"]:
                    raise Undone
        assert found is not None
        return found

    async def _store_in(
        self, connection: Any, context: OperationContext, reader: ManifestReader, content: bytes
    ) -> Imported:
        request, now = context.request, self._ground.clock.now()
        await connection.execute(SQL["identity_patience"])
        await connection.execute(SQL["identity_manifest_lock"], request["name"])
        current = await connection.fetchrow(SQL["identity_manifest_current"], request["name"])
        version = 1 + (current["version"] if current else 0)
        merged = await table.merge(connection, request["name"], version, reader.rows, now, snapshot=request["snapshot"])
        row = await connection.fetchrow(
            SQL["identity_manifest_insert"],
            request["name"],
            version,
            request["file_name"],
            request["format"],
            _mode(request),
            hashlib.sha256(content).digest(),
            len(content),
            reader.read,
            merged.added,
            merged.updated,
            merged.unchanged,
            merged.withdrawn,
            len(reader.rejections),
            now,
            actor_document(context.operation.actor),
            _settings(request),
        )
        await table.keep_rejections(connection, row["manifest_id"], reader.rejections)
        await self._ground.record(
            connection, _happening(request["name"], version, merged, reader), context.operation.actor
        )
        context.progress(done=reader.read)
        return Imported(manifest=manifest(row, current=True), rejections=tuple(reader.rejections[:REPORTED]))


def manifest(row: Any, *, current: bool | None = None) -> Manifest:
    """Return the manifest that a row holds."""
    return Manifest(
        name=row["name"],
        version=row["version"],
        current=row["current"] if current is None else current,
        file_name=row["file_name"],
        format=row["format"],
        mode=row["mode"],
        sha256=row["sha256"],
        size_bytes=row["size_bytes"],
        rows=row["rows"],
        added=row["added"],
        updated=row["updated"],
        unchanged=row["unchanged"],
        withdrawn=row["withdrawn"],
        rejected=row["rejected"],
        created_at=row["created_at"],
        created_by=actor_of(row["created_by"]),
        manifest_id=row["manifest_id"],
    )


def _mode(request: Mapping[str, Any]) -> str:
    return "SNAPSHOT" if request["snapshot"] else "DELTA"


def _settings(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return what, beside the bytes, decides what a manifest says."""
    return {"default_class": request["default_class"], "columns": dict(request["columns"])}


def _parse(content: bytes, request: Mapping[str, Any]) -> _Parsed:
    """Read a manifest; runs beside the event loop."""
    file = read_manifest(content, request["format"], request["columns"])
    reader = ManifestReader(request["default_class"])
    try:
        reader.take(file.entries)
    except (ValueError, OSError) as error:
        raise InvalidArgument(f"The manifest breaks off: {' '.join(str(error).split())[:200]}.") from None
    for line, message in file.bad_lines:
        reader.refuse(line, message)
    reader.rejections.sort(key=lambda each: each.line)
    return _Parsed(reader, tuple(file.unknown_columns))


def _happening(name: str, version: int, merged: MergedIdentities, reader: ManifestReader) -> Happening:
    return Happening(
        kind="IdentitiesImported",
        message=f"Version {version} of the identities {name!r} was imported: "
        f"{merged.added} new, {merged.updated} changed, "
        f"{merged.withdrawn} withdrawn, {len(reader.rejections)} not taken.",
        subject_type="identities",
        subject_name=name,
        data={"version": version, **asdict(merged), "rejected": len(reader.rejections)},
    )
