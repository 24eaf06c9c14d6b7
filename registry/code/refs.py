"""What a piece of code is called."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from quasar.errors import NotFound, Resource


class CodeKind(StrEnum):
    """What a piece of code is. Each kind is a name space of its own."""

    PROVIDER = "provider"
    BROKER = "broker"
    STRATEGY = "strategy"

    @property
    def owner(self) -> str:
        """The service that validates and runs code of the kind."""
        return "datahub" if self is CodeKind.PROVIDER else "strategy"


@dataclass(frozen=True, slots=True)
class CodeRef:
    """Kind and name of a piece of code."""

    kind: CodeKind
    name: str

    def __str__(self) -> str:
        """Return it as people write it: `provider 'kraken'`."""
        return f"{self.kind} {self.name!r}"

    @property
    def resource(self) -> Resource:
        """What errors name."""
        return Resource(str(self.kind), self.name)

    def not_found(self) -> NotFound:
        """Return the error for code that does not exist."""
        return NotFound(f"There is no {self}; list what there is with ListCode.", resource=self.resource)
