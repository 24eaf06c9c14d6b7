"""Runs as values: one piece of collection, what it did, and what names it outside."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from datahub.ingest.delivery import Counts
from quasar.errors import NotFound, Resource
from quasar.model.instants import TimeRange


class Trigger(StrEnum):
    """Why a run exists; words of the contract's `RunTrigger`."""

    SCHEDULE = "SCHEDULE"
    CATCH_UP = "CATCH_UP"
    INITIAL = "INITIAL"
    MANUAL = "MANUAL"
    BACKFILL = "BACKFILL"
    REPAIR = "REPAIR"
    FEED_SEAM = "FEED_SEAM"
    RETRY = "RETRY"


class RunState(StrEnum):
    """Where a run stands; words of the contract's `RunState`."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    THROTTLED = "THROTTLED"
    BACKING_OFF = "BACKING_OFF"
    SUCCEEDED = "SUCCEEDED"
    PARTIAL = "PARTIAL"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    SKIPPED = "SKIPPED"

    @property
    def final(self) -> bool:
        """Whether it never changes again."""
        return self in _FINAL


_FINAL = frozenset({RunState.SUCCEEDED, RunState.PARTIAL, RunState.FAILED, RunState.CANCELLED, RunState.SKIPPED})
ACTIVE = tuple(state.value for state in RunState if state not in _FINAL)
"""States of runs that have not ended."""

_UUID_MARK = (8 << 76) | (2 << 62)


def public_id(run_id: int) -> str:
    """Return the UUID that names a run outside: version 8 (RFC 9562), with the run's number in its last 62 bits."""
    return str(uuid.UUID(int=_UUID_MARK | run_id))


def private_id(text: str) -> int:
    """Return the number of the run that a UUID names.

    Raises:
        NotFound: It names no run.
    """
    number = uuid.UUID(text).int ^ _UUID_MARK
    if not 0 < number < 1 << 62:
        raise NotFound(f"There is no run {text}.", resource=Resource("run", text))
    return number


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run to record."""

    provider: str
    series_id: int
    span: TimeRange
    """Open times to fetch."""
    job_id: int | None = None
    gap_ids: tuple[int, ...] = ()
    """The gaps of the series that it repairs."""
    slots: int = 0
    """Slots in the range in which a bar is expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A run in the hands of a worker."""

    run_id: int
    kind: str
    trigger: Trigger
    provider: str
    series_id: int | None
    span: TimeRange | None
    index_name: str
    job_id: int | None
    gap_ids: tuple[int, ...]
    """The gaps that it repairs."""
    own_provider_only: bool
    """Whether a repair must not borrow from other providers."""
    attempt: int
    max_attempts: int
    worker: str
    watermark: dt.datetime | None
    slots_total: int
    cancel_requested: bool
    operation_id: uuid.UUID | None

    @property
    def fence(self) -> tuple[int, str, int]:
        """A statement that names them changes nothing once another worker has taken over."""
        return self.run_id, self.worker, self.attempt


@dataclass(frozen=True, slots=True)
class Progress:
    """What was done since it was last written."""

    counts: Counts = field(default_factory=Counts)
    received_bytes: int = 0
    vendor_calls: int = 0
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed: the parts of a `QuasarError`, as they are stored."""

    reason: str
    message: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    retry_after_s: float | None = None
    final: bool = False
    """Trying again cannot help."""
    irregular: int = 0
    """Rows of the attempt that came again, or behind later ones."""

    @property
    def stored(self) -> dict[str, Any]:
        """The JSON that is stored."""
        return {"reason": self.reason, "message": self.message, "metadata": dict(self.metadata)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended."""

    state: RunState
    failure: Failure | None = None
    slots_done: int = 0
    slots_gap: int = 0
    irregular: int = 0
    """Rows of the last attempt that came again, or behind later ones."""
    result: Mapping[str, Any] | None = None
