"""Uploads of manifests in parts, for files that are larger than one message."""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid
from dataclasses import dataclass
from typing import Any, Final

from quasar.errors import FailedPrecondition, FieldViolation, InvalidArgument, NotFound, QuotaExceeded, Resource
from quasar.ops.actors import Actor
from registry.ground import Ground, actor_document
from registry.requests import RequestMark
from registry.store.statements import SQL

PART_LIMIT: Final = 2 * 1024 * 1024
LIFE: Final = dt.timedelta(hours=24)
OPEN_AT_ONCE: Final = 32
"""Uploads that may be open; each may hold a gigabyte."""
_WHOLE_FILES: Final = uuid.UUID("6f0f3f5e-58cf-4a7e-9d56-3f1c2a4b7d90")
"""Name space of the uploads that files of one message are kept in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file that is coming in parts."""

    upload_id: uuid.UUID
    file_name: str
    size_bytes: int
    received_bytes: int
    """Bytes that are there without a hole from the beginning."""
    expire_time: dt.datetime


@dataclass(frozen=True, slots=True)
class Finished:
    """A whole file."""

    file_name: str
    content: bytes


class Uploads:
    """The open uploads."""

    def __init__(self, ground: Ground) -> None:
        """Keep parts on `ground`."""
        self._ground = ground

    async def start(
        self, file_name: str, size_bytes: int, sha256: str, mark: RequestMark, actor: Actor | None
    ) -> Upload:
        """Announce a file.

        Raises:
            QuotaExceeded: Too many uploads are open.
        """
        now = self._ground.clock.now()
        async with self._ground.database.transaction() as connection:
            answer = await self._ground.requests.first_answer(connection, mark)
            if answer is not None:
                return await self._get(connection, uuid.UUID(answer["upload_id"]))
            await connection.execute(SQL["upload_prune"], now - LIFE)
            if await connection.fetchval(SQL["upload_open_count"]) >= OPEN_AT_ONCE:
                raise QuotaExceeded(
                    f"At most {OPEN_AT_ONCE} uploads may be open; finish or delete one, or wait until they expire."
                )
            upload_id = uuid.uuid4()
            await self._insert(connection, upload_id, file_name, size_bytes, sha256, actor)
            await self._ground.requests.remember(connection, mark, {"upload_id": str(upload_id)})
            return await self._get(connection, upload_id)

    async def _insert(
        self, connection: Any, upload_id: uuid.UUID, file_name: str, size_bytes: int, sha256: str, actor: Actor | None
    ) -> None:
        digest = bytes.fromhex(sha256) if sha256 else None
        now = self._ground.clock.now()
        await connection.execute(
            SQL["upload_insert"], upload_id, file_name, size_bytes, digest, now, actor_document(actor)
        )

    async def keep(self, name: str, file_name: str, content: bytes, request_id: str, actor: Actor | None) -> uuid.UUID:
        """Keep a whole file that came in one message; the same bytes of the same request have the same place."""
        place = f"{name} {hashlib.sha256(content).hexdigest()} {request_id}"
        upload_id = uuid.uuid5(_WHOLE_FILES, place) if request_id else uuid.uuid4()
        async with self._ground.database.transaction() as connection:
            await connection.execute(SQL["upload_prune"], self._ground.clock.now() - LIFE)
            await self._insert(connection, upload_id, file_name, len(content), "", actor)
            await connection.execute(SQL["upload_put_part"], upload_id, 0, content)
        return upload_id

    async def put(self, upload_id: uuid.UUID, start: int, content: bytes) -> Upload:
        """Store a part; one that begins where another did replaces it.

        Raises:
            NotFound: The upload does not exist or has expired.
            InvalidArgument: The part goes beyond the announced size.
        """
        now = self._ground.clock.now()
        async with self._ground.database.transaction() as connection:
            row = await connection.fetchrow(SQL["upload_lock"], upload_id, now - LIFE)
            if row is None:
                raise _unknown(upload_id)
            end = start + len(content)
            if end > row["size_bytes"]:
                description = f"must end at byte {row['size_bytes']} at most, the part ends at {end}"
                raise InvalidArgument(f"offset {description}.", violations=[FieldViolation("offset", description)])
            await connection.execute(SQL["upload_put_part"], upload_id, start, content)
            await connection.execute(SQL["upload_touch"], upload_id, now)
            return await self._get(connection, upload_id)

    async def get(self, upload_id: uuid.UUID) -> Upload:
        """Return an upload.

        Raises:
            NotFound: It does not exist or has expired.
        """
        async with self._ground.database.acquire() as connection:
            return await self._get(connection, upload_id)

    async def _get(self, connection: Any, upload_id: uuid.UUID) -> Upload:
        row = await connection.fetchrow(SQL["upload_find"], upload_id, self._ground.clock.now() - LIFE)
        if row is None:
            raise _unknown(upload_id)
        extents = [
            (each["part_start"], each["size"]) for each in await connection.fetch(SQL["upload_extents"], upload_id)
        ]
        return Upload(
            upload_id=row["upload_id"],
            file_name=row["file_name"],
            size_bytes=row["size_bytes"],
            received_bytes=contiguous(extents),
            expire_time=row["touched_at"] + LIFE,
        )

    async def delete(self, upload_id: uuid.UUID) -> None:
        """Give up an upload.

        Raises:
            NotFound: It does not exist or has expired.
        """
        async with self._ground.database.transaction() as connection:
            await self._get(connection, upload_id)
            await connection.execute(SQL["upload_delete"], upload_id)

    async def discard(self, upload_id: uuid.UUID) -> None:
        """Free the parts of an upload that nobody needs any more, if it is there."""
        async with self._ground.database.transaction() as connection:
            await connection.execute(SQL["upload_delete"], upload_id)

    async def require_whole(self, upload_id: uuid.UUID) -> Upload:
        """Return an upload of which nothing is missing.

        Raises:
            NotFound: It does not exist or has expired.
            FailedPrecondition: Parts are missing.
        """
        upload = await self.get(upload_id)
        if upload.received_bytes < upload.size_bytes:
            raise FailedPrecondition(
                f"The upload has {upload.received_bytes} of {upload.size_bytes} bytes without a hole; "
                "send the rest first.",
                resource=Resource("upload", str(upload_id)),
                metadata={"received_bytes": str(upload.received_bytes)},
            )
        return upload

    async def read(self, upload_id: uuid.UUID) -> Finished:
        """Return a whole file.

        Raises:
            NotFound: The upload does not exist or has expired.
            FailedPrecondition: Parts are missing, or the SHA-256 is not the announced one.
        """
        upload = await self.require_whole(upload_id)
        content = bytearray(upload.size_bytes)
        async with self._ground.database.acquire() as connection:
            row = await connection.fetchrow(SQL["upload_find"], upload_id, self._ground.clock.now() - LIFE)
            for part in await connection.fetch(SQL["upload_parts"], upload_id):
                content[part["part_start"] : part["part_start"] + len(part["content"])] = part["content"]
        whole = bytes(content)
        digest = hashlib.sha256(whole).digest()
        if row is not None and row["sha256"] is not None and row["sha256"] != digest:
            raise FailedPrecondition(
                f"The SHA-256 of the upload must be {row['sha256'].hex()}, was {digest.hex()}; "
                "send the damaged parts again.",
                resource=Resource("upload", str(upload_id)),
            )
        return Finished(upload.file_name, whole)


def contiguous(extents: list[tuple[int, int]]) -> int:
    """Return how many bytes are there from the beginning without a hole, of parts with start and size, by start."""
    reached = 0
    for start, size in extents:
        if start > reached:
            break
        reached = max(reached, start + size)
    return reached


def _unknown(upload_id: uuid.UUID) -> NotFound:
    return NotFound(
        f"There is no upload {upload_id}, or it has expired; begin a new one with StartManifestUpload.",
        resource=Resource("upload", str(upload_id)),
    )
