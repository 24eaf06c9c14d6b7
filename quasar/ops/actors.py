"""Who did something, for the record."""

from __future__ import annotations

from dataclasses import dataclass

from quasar.ops.roles import Role


@dataclass(frozen=True, slots=True)
class Actor:
    """Who made a change, and the request that made it."""

    principal: str
    """Name of a token, or of a service ("service:datahub")."""
    role: Role
    request_id: str = ""
    """The same id stands in the logs of every service that took part."""

    @classmethod
    def of(cls, principal: str | None, role: str | None, request_id: str | None) -> Actor | None:
        """Return the actor that a row tells of; None where the platform acted by itself."""
        if not principal:
            return None
        return cls(principal, Role.of(role) if role else Role.VIEWER, request_id or "")
