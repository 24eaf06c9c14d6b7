"""Files on their way in, kept in the database so that any replica takes their parts and imports them."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import uuid
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import IO, Any

from datahub.store.statements import SQL
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.errors import FailedPrecondition, NotFound, QuotaExceeded, Resource

KEPT = dt.timedelta(hours=24)
"""An upload is removed so long after its last change."""
MOST_BYTES = 8 << 30
MOST_OPEN = 64


@dataclass(frozen=True, slots=True)
class Upload:
    """A file on its way in."""

    upload_id: uuid.UUID
    file_name: str
    size_bytes: int
    received_bytes: int
    sha256: str
    """Announced digest; empty: none was."""
    expire_time: dt.datetime

    @property
    def complete(self) -> bool:
        """Whether all of it is there."""
        return self.received_bytes == self.size_bytes


class Uploads:
    """Takes files in parts."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Keep them in `database`."""
        self._database = database
        self._clock = clock

    async def create(self, file_name: str, size_bytes: int, sha256: str, request_id: str) -> Upload:
        """Open an upload, or return the one that was opened with the same request id.

        Raises:
            QuotaExceeded: It would be too big, or too many are open.
        """
        if size_bytes > MOST_BYTES:
            raise QuotaExceeded(f"size_bytes must be at most {MOST_BYTES}, was {size_bytes}; split the file.")
        now = self._clock.now()
        for expired in await self._database.fetch(SQL["uploads_expired"], now - KEPT):
            await self._remove(expired["upload_id"])
        former = await self._database.fetchrow(SQL["upload_of_request"], request_id) if request_id else None
        if former is not None:
            return _upload(former)
        if await self._database.fetchval(SQL["upload_count"]) >= MOST_OPEN:
            raise QuotaExceeded(f"{MOST_OPEN} uploads are open; import one of them, or wait a day.")
        made = uuid.uuid4()
        await self._database.execute(SQL["upload_insert"], made, file_name, size_bytes, sha256, request_id or None, now)
        if request_id:
            return _upload(await self._database.fetchrow(SQL["upload_of_request"], request_id))
        return await self.get(str(made))

    async def get(self, upload_id: str) -> Upload:
        """Return an upload.

        Raises:
            NotFound: There is none, or it has expired.
        """
        row = await self._database.fetchrow(SQL["upload_find"], _uuid(upload_id), self._clock.now() - KEPT)
        if row is None:
            raise _unknown(upload_id)
        return _upload(row)

    async def append(self, upload_id: str, offset: int, data: bytes) -> Upload:
        """Store bytes; those that are there already are compared.

        Raises:
            NotFound: There is no such upload.
            FailedPrecondition: The offset is beyond what is stored, or other bytes are stored there.
            QuotaExceeded: The upload would grow beyond its announced size.
        """
        number, now = _uuid(upload_id), self._clock.now()
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(SQL["upload_lock"], number, now - KEPT)
            if row is None:
                raise _unknown(upload_id)
            received = row["received_bytes"]
            if offset > received:
                raise _goes_on_at(f"offset must be at most {received}, was {offset}", received)
            if offset + len(data) > row["size_bytes"]:
                size = row["size_bytes"]
                raise QuotaExceeded(f"The upload was announced with {size} bytes, these end at {offset + len(data)}.")
            known = data[: received - offset]
            if known and known != await _stored(connection, number, offset, len(known)):
                raise _goes_on_at(f"Other bytes are stored at offset {offset}", received)
            fresh = data[len(known) :]
            if fresh:
                await connection.execute(SQL["upload_add_part"], number, received, fresh)
            return _upload(await connection.fetchrow(SQL["upload_received"], number, received + len(fresh), now))

    async def check(self, upload: Upload) -> None:
        """Check that an upload is whole.

        Raises:
            FailedPrecondition: Bytes are missing, or the digest differs from what was announced.
        """
        if not upload.complete:
            got, size = upload.received_bytes, upload.size_bytes
            raise _goes_on_at(f"The upload has {got} of {size} bytes; append the others first", got)
        if not upload.sha256:
            return
        digest = hashlib.sha256()
        async for part in self._parts(upload):
            await asyncio.to_thread(digest.update, part)
        if digest.hexdigest() != upload.sha256:
            raise FailedPrecondition(
                f"sha256 of the bytes must be {upload.sha256}, was {digest.hexdigest()}; upload the file again."
            )

    async def write_to(self, upload: Upload, file: IO[bytes]) -> None:
        """Write the bytes of an upload to a file."""
        async for part in self._parts(upload):
            await asyncio.to_thread(file.write, part)

    async def remove(self, upload_id: str) -> None:
        """Remove an upload, if it is there."""
        await self._remove(_uuid(upload_id))

    async def _remove(self, upload_id: uuid.UUID) -> None:
        while await self._database.fetch(SQL["upload_parts_delete"], upload_id):
            pass
        await self._database.execute(SQL["upload_delete"], upload_id)

    async def _parts(self, upload: Upload) -> AsyncGenerator[bytes, None]:
        start = 0
        while start < upload.received_bytes:
            part: bytes | None = await self._database.fetchval(SQL["upload_part_at"], upload.upload_id, start)
            if not part:
                raise _unknown(str(upload.upload_id))
            yield part
            start += len(part)


async def _stored(connection: Any, upload_id: uuid.UUID, offset: int, size: int) -> bytes:
    rows = await connection.fetch(SQL["upload_parts_in"], upload_id, offset, offset + size)
    skipped = offset - rows[0]["part_start"] if rows else 0
    return b"".join(row["content"] for row in rows)[skipped : skipped + size]


def _upload(row: Any) -> Upload:
    return Upload(
        row["upload_id"],
        row["file_name"],
        row["size_bytes"],
        row["received_bytes"],
        row["sha256"],
        row["touched_at"] + KEPT,
    )


def _uuid(upload_id: str) -> uuid.UUID:
    try:
        return uuid.UUID(upload_id)
    except ValueError:
        raise _unknown(upload_id) from None


def _unknown(upload_id: str) -> NotFound:
    return NotFound(f"There is no upload {upload_id}.", resource=Resource("upload", upload_id))


def _goes_on_at(message: str, offset: int) -> FailedPrecondition:
    return FailedPrecondition(f"{message}; go on from offset {offset}.", metadata={"offset": str(offset)})
