"""Reading code: entries, versions, sources, and what differs between two versions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from quasar import paging
from quasar.errors import FailedPrecondition, NotFound, Unavailable
from quasar.filters import condition
from registry.code import archives, preferences
from registry.code.archives import ShownFile, SourceFile
from registry.code.changes import Ground, read_entry
from registry.code.differences import FileDiff, ManifestChange, file_diffs, manifest_changes
from registry.code.entries import Entry, Usage, Version
from registry.code.intake import Upload, validate
from registry.code.owners import Report
from registry.code.preference_changes import no_version
from registry.code.refs import CodeKind, CodeRef
from registry.store import code_listing, code_table
from registry.store.ordering import ordering

BuiltInFiles: TypeAlias = Mapping[CodeRef, Sequence[SourceFile]]


@dataclass(frozen=True, slots=True)
class EntryPage:
    """Some entries."""

    entries: tuple[Entry, ...]
    next_page_token: str
    total: int


@dataclass(frozen=True, slots=True)
class VersionPage:
    """Some versions of an entry."""

    versions: tuple[Version, ...]
    next_page_token: str
    total: int


@dataclass(frozen=True, slots=True)
class Source:
    """The files of a version."""

    version: Version
    files: tuple[ShownFile, ...]
    content: bytes
    """The uploaded bytes, where they were asked for."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs between two versions."""

    from_version: int
    to_version: int
    files: tuple[FileDiff, ...]
    manifest: tuple[ManifestChange, ...]


class Catalog:
    """The code that is stored, for reading."""

    def __init__(self, ground: Ground, built_in_files: BuiltInFiles) -> None:
        """Read entries of `ground`; `built_in_files` has the sources of the code that comes with the platform."""
        self._ground = ground
        self._built_in_files = built_in_files

    async def page(self, *, filter_text: str, order_by: str, page_size: int, page_token: str) -> EntryPage:
        """Return a page of entries.

        Raises:
            InvalidFilter: The filter or the ordering cannot be understood.
            InvalidCursor: The page token belongs to another query.
        """
        size = paging.page_size(page_size)
        query = ("ListCode", filter_text, order_by)
        key = paging.page_key(query, page_token)
        order = ordering(order_by, code_listing.ORDER, default=code_listing.DEFAULT_ORDER, tie=code_listing.TIE)
        where = condition(filter_text, code_listing.FIELDS, first_parameter=2)
        async with self._ground.database.transaction(isolation="repeatable_read", readonly=True) as connection:
            found, places = await code_table.entries(connection, where, order, key, size + 1)
            total = await code_table.count(connection, condition(filter_text, code_listing.FIELDS))
        token = paging.page_token(query, places[size - 1]) if len(found) > size else ""
        return EntryPage(tuple(found[:size]), token, total)

    async def entry(self, ref: CodeRef) -> tuple[Entry, Usage]:
        """Return an entry with what uses it.

        Raises:
            NotFound: There is no such code.
        """
        entry = await read_entry(self._ground, ref)
        async with self._ground.database.acquire() as connection:
            usage = await code_table.usage(connection, entry.code_id)
        instances, series = await asyncio.gather(self._instances(entry.ref), self._series(entry.ref))
        return entry, replace(usage, instances=instances, series=series)

    async def _instances(self, ref: CodeRef) -> int | None:
        try:
            return len(await self._ground.owners.instances(ref))
        except Unavailable:
            return None

    async def _series(self, ref: CodeRef) -> int | None:
        return await self._ground.owners.series_count(ref) if ref.kind is CodeKind.PROVIDER else None

    async def versions(self, ref: CodeRef, *, page_size: int, page_token: str) -> VersionPage:
        """Return a page of the versions of an entry, newest first.

        Raises:
            NotFound: There is no such code.
            InvalidCursor: The page token belongs to another query.
        """
        size = paging.page_size(page_size)
        query = ("ListCodeVersions", str(ref.kind), ref.name)
        key = paging.page_key(query, page_token)
        entry = await read_entry(self._ground, ref)
        async with self._ground.database.acquire() as connection:
            below = int(key[0]) if key else None
            found = await code_table.versions(connection, entry.code_id, below=below, limit=size + 1)
        token = paging.page_token(query, (found[size - 1].version,)) if len(found) > size else ""
        return VersionPage(tuple(found[:size]), token, entry.version_count)

    async def source(self, ref: CodeRef, version: int, *, path: str, include_content: bool) -> Source:
        """Return the files of a version; 0: of the active one, or of the newest when none is active.

        Raises:
            NotFound: There is no such code, version or path.
        """
        entry, found = await self._version(ref, version, newest=False)
        content = await self._content(entry, found)
        files = self._files(entry, found, content)
        if path:
            files = tuple(file for file in files if file.path == path)
            if not files:
                raise NotFound(
                    f"Version {found.version} of {ref} has no file {path!r}; ask without a path to see what it has.",
                    resource=ref.resource,
                )
        limit = archives.MAX_UNPACKED_BYTES if path else archives.SHOWN_BYTES
        listed = archives.without_content(files) if include_content else archives.shown(files, limit=limit)
        return Source(found, listed, content if include_content else b"")

    async def difference(self, ref: CodeRef, from_version: int, to_version: int, context_lines: int) -> Difference:
        """Compare two versions; 0 is the active one on the older side, and the newest one on the newer side.

        Raises:
            NotFound: There is no such code or version.
        """
        entry, older = await self._version(ref, from_version, newest=False)
        _, newer = await self._version(ref, to_version, newest=True)
        before = self._files(entry, older, await self._content(entry, older))
        after = self._files(entry, newer, await self._content(entry, newer))
        # Long files take seconds; other calls go on meanwhile.
        files = await asyncio.to_thread(file_diffs, before, after, context_lines)
        return Difference(
            older.version,
            newer.version,
            tuple(files),
            tuple(manifest_changes(older.manifest, newer.manifest)),
        )

    async def validate_again(self, ref: CodeRef, version: int) -> Report:
        """Validate a stored version once more, with the stored secrets and preferences.

        Raises:
            NotFound: There is no such code or version.
            FailedPrecondition: The code is built in.
            ServiceUnavailable: The validating service does not answer.
        """
        entry, found = await self._version(ref, version, newest=False)
        if entry.built_in:
            raise FailedPrecondition(
                f"{ref} comes with the platform and was tested with it; only uploaded code is validated.",
                resource=ref.resource,
            )
        upload = Upload(
            kind=ref.kind,
            file_name=found.file_name,
            content=await self._content(entry, found),
            preferences=_in_force(entry, found),
            expected_name=entry.ref.name,
        )
        return await validate(self._ground, upload)

    async def _version(self, ref: CodeRef, number: int, *, newest: bool) -> tuple[Entry, Version]:
        entry = await read_entry(self._ground, ref)
        wanted = number or (entry.latest_version if newest else entry.manifest_version)
        async with self._ground.database.acquire() as connection:
            found = await code_table.version(connection, entry.code_id, wanted)
        if found is None:
            raise no_version(ref, wanted)
        return entry, found

    async def _content(self, entry: Entry, version: Version) -> bytes:
        if entry.built_in:
            return b""
        async with self._ground.database.acquire() as connection:
            return await code_table.source(connection, entry.code_id, version.version)

    def _files(self, entry: Entry, version: Version, content: bytes) -> tuple[SourceFile, ...]:
        if entry.built_in:
            return tuple(self._built_in_files.get(entry.ref, ()))
        return archives.unpack(version.file_name, content)


def _in_force(entry: Entry, version: Version) -> Mapping[str, Any] | None:
    """Return the stored preferences that hold for a version: those that it does not take have no effect."""
    fields = replace(entry, manifest=version.manifest).fields
    return preferences.in_force(fields, entry.preferences) or None
