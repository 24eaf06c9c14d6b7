"""The services that validate and run code: the DataHub (providers) and the strategy engine (brokers, strategies)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from registry.code.refs import CodeKind, CodeRef


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a validation."""

    document: Mapping[str, Any]
    """The JSON form of `quasar.common.v1.ValidationReport`, with the field names of the contract."""

    @property
    def passed(self) -> bool:
        """Whether the code may be stored and run."""
        return bool(self.document.get("passed", False))

    @property
    def manifest(self) -> Mapping[str, Any] | None:
        """What the class declares; None when the code did not get that far."""
        found: Mapping[str, Any] | None = self.document.get("manifest")
        return found

    @property
    def errors(self) -> list[Mapping[str, Any]]:
        """The findings because of which the code is refused."""
        found = self.document.get("findings", ())
        return [finding for finding in found if finding.get("severity") == "FINDING_SEVERITY_ERROR"]


@dataclass(frozen=True, slots=True)
class Submission:
    """Code to validate."""

    kind: CodeKind
    file_name: str
    content: bytes
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    preferences: Mapping[str, Any] | None = None
    """None: the defaults."""


@dataclass(frozen=True, slots=True)
class CodeChange:
    """A change of stored code that its owner has to take up."""

    ref: CodeRef
    active_version: int
    """0: none is active."""
    secrets_changed: bool = False
    preferences_changed: bool = False


class ApplyState(StrEnum):
    """How a change reached the process that runs the code."""

    APPLIED = "APPLIED"
    REPLACED = "REPLACED"
    NOT_RUNNING = "NOT_RUNNING"
    PENDING = "PENDING"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class ApplyOutcome:
    """Whether and how a stored change has taken effect."""

    state: ApplyState
    detail: str = ""
    """One sentence for people; empty when it is in effect."""


@dataclass(frozen=True, slots=True)
class InstanceUse:
    """A strategy instance that uses a piece of code."""

    instance_id: str
    running: bool
    runs_it: bool
    """It runs the code (strategy, broker), and does not only read from it (provider)."""


class CodeOwners(Protocol):
    """What the registry asks of the services that run code."""

    async def validate(self, submission: Submission) -> Report:
        """Validate code; refused code is no error.

        Raises:
            ServiceUnavailable: The validating service does not answer; the message names it.
        """
        ...

    async def apply(self, change: CodeChange) -> ApplyOutcome:
        """Tell the owner of a stored change; a failure is an outcome, not an error."""
        ...

    async def instances(self, ref: CodeRef) -> Sequence[InstanceUse]:
        """Return the strategy instances that use the code.

        Raises:
            ServiceUnavailable: The strategy engine does not answer.
        """
        ...

    async def delete_instance(self, instance_id: str) -> None:
        """Delete a stopped instance."""
        ...

    async def series_count(self, ref: CodeRef) -> int | None:
        """Return how many series with stored data a provider has; None when the DataHub does not answer."""
        ...
