"""What the work on assets, mappings and indices stands on, and how every change is recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.errors import EtagMismatch, Resource
from quasar.ops.actors import Actor
from quasar.ops.events import Events, Severity
from registry.requests import Requests
from registry.running import Running
from registry.store.statements import SQL


class Undone(Exception):
    """Ends a transaction whose effect was only to be known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """An event to be recorded."""

    kind: str
    message: str
    subject_type: str
    subject_name: str
    data: Mapping[str, Any] = field(default_factory=dict)
    severity: Severity = Severity.INFO


@dataclass(frozen=True, slots=True)
class Ground:
    """What the registry's work stands on."""

    database: Database
    clock: Clock
    events: Events
    requests: Requests
    running: Running

    async def record(self, connection: Any, happening: Happening, actor: Actor | None) -> None:
        """Record one event in the caller's transaction."""
        await self.events.record(
            connection,
            happening.kind,
            happening.message,
            subject_type=happening.subject_type,
            subject_name=happening.subject_name,
            data=happening.data,
            severity=happening.severity,
            actor=actor,
        )

    async def record_all(self, connection: Any, happenings: Sequence[Happening], actor: Actor | None) -> None:
        """Record many events in the caller's transaction, in one statement."""
        if not happenings:
            return
        await connection.execute(
            SQL["events_record_all"],
            "registry",
            [each.kind for each in happenings],
            [each.message for each in happenings],
            [each.subject_type for each in happenings],
            [each.subject_name for each in happenings],
            [each.severity.name for each in happenings],
            [dict(each.data) for each in happenings],
            actor.principal if actor else "",
            actor.role.word if actor else "",
            actor.request_id if actor else "",
        )

    async def tell(self, connection: Any, subject: str) -> None:
        """Wake, at commit, those who live on what the registry holds."""
        await connection.execute(SQL["registry_changed"], subject)


def require_etag(etag: str, revision: int, resource: Resource) -> None:
    """Refuse a change of something that changed since it was read; an empty etag accepts whatever there is.

    Raises:
        EtagMismatch: The etag is old; the present one is in the metadata.
    """
    if etag and etag != str(revision):
        raise EtagMismatch(
            f"{resource.type} {resource.name!r} changed since it was read (etag must be '{revision}', was {etag!r}); "
            "read it again and repeat the change.",
            resource=resource,
            metadata={"etag": str(revision)},
        )


def actor_document(actor: Actor | None) -> Mapping[str, Any] | None:
    """Return an actor as it is stored beside a change."""
    if actor is None:
        return None
    return {"principal": actor.principal, "role": actor.role.word, "request_id": actor.request_id}


def actor_of(document: Mapping[str, Any] | None) -> Actor | None:
    """Return the actor that is stored beside a change."""
    if not document:
        return None
    return Actor.of(document.get("principal"), document.get("role"), document.get("request_id"))
