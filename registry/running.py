"""Operations that must not run twice at once over the same thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quasar.database.pool import Database
from quasar.errors import AlreadyExists, FailedPrecondition, Resource
from quasar.ops.actors import Actor
from quasar.ops.operations import Operation, Operations
from registry.store.statements import SQL


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be begun."""

    kind: str
    subject_type: str
    subject: str
    request: Mapping[str, Any]
    actor: Actor | None = None
    request_id: str = ""
    conflicts: Sequence[tuple[str, str]] = ()
    """Kind and subject of what must not be under way beside it; an empty subject stands for every one."""


class Running:
    """Begins operations of the registry, one at a time for each subject."""

    def __init__(self, database: Database, operations: Operations) -> None:
        """Begin operations in `operations`."""
        self._database = database
        self._operations = operations

    async def begin_or_join(self, work: Work) -> tuple[Operation, bool]:
        """Begin an operation, or return the one that is under way with it, and tell which it was.

        Raises:
            AlreadyExists: The request id was used with another request.
        """
        async with self._database.transaction() as connection:
            found = await self._under_way(connection, work)
            if found is None or await self._repeats(connection, work):
                return await self._submit(connection, work), False
        return await self._operations.get(found["id"]), True

    async def begin(self, work: Work) -> Operation:
        """Begin an operation.

        Raises:
            FailedPrecondition: One that conflicts with it is under way; its id is in the metadata.
            AlreadyExists: The request id was used with another request.
        """
        async with self._database.transaction() as connection:
            found = await self._under_way(connection, work)
            if found is not None and not await self._repeats(connection, work):
                raise FailedPrecondition(
                    f"A {found['kind']} of {found['subject_name']} is running; "
                    f"wait for operation {found['id']} or cancel it.",
                    resource=Resource("operation", str(found["id"])),
                    metadata={"operation_id": str(found["id"])},
                )
            return await self._submit(connection, work)

    async def repeats(self, work: Work) -> bool:
        """Tell whether a request with the id of this one began an operation of the kind before."""
        async with self._database.acquire() as connection:
            return await self._repeats(connection, work)

    async def repeated(self, kind: str, subject: str, request_id: str) -> Operation | None:
        """Return the operation that a request with this id began before; None when it is new.

        Raises:
            AlreadyExists: The id was used for another subject.
        """
        if not request_id:
            return None
        found = await self._database.fetchval(SQL["running_repeat"], self._operations.service, kind, request_id)
        if found is None:
            return None
        operation = await self._operations.get(found)
        if operation.subject != subject:
            raise AlreadyExists(
                f"The request_id {request_id!r} was used for another {kind} before; choose a new one.",
                resource=Resource("operation", str(found)),
            )
        return operation

    async def made_before(self, kind: str, request_id: str) -> bool:
        """Tell whether a request with this id began an operation: then what it needed then need not hold any more."""
        if not request_id:
            return False
        return (
            await self._database.fetchval(SQL["running_repeat"], self._operations.service, kind, request_id) is not None
        )

    async def _under_way(self, connection: Any, work: Work) -> Any:
        await connection.execute(SQL["running_lock"])
        kinds = [kind for kind, _ in work.conflicts]
        subjects = [subject for _, subject in work.conflicts]
        return await connection.fetchrow(SQL["running_find"], self._operations.service, kinds, subjects)

    async def _repeats(self, connection: Any, work: Work) -> bool:
        """Tell whether the request was made before: then its own operation is the answer."""
        if not work.request_id:
            return False
        found = await connection.fetchval(SQL["running_repeat"], self._operations.service, work.kind, work.request_id)
        return found is not None

    async def _submit(self, connection: Any, work: Work) -> Operation:
        return await self._operations.submit(
            work.kind,
            work.request,
            subject_type=work.subject_type,
            subject=work.subject,
            actor=work.actor,
            request_id=work.request_id,
            connection=connection,
        )
