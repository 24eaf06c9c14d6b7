"""Leave to call the vendor. The limits belong to the vendor and are counted outside the plug-in, for all its uses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

WORK: ContextVar[str] = ContextVar("quasar_plugin_work", default="")
"""The work that the running code belongs to; sets the lane of permits and stands on log lines."""


@dataclass(slots=True)
class Tally:
    """What one piece of work took."""

    calls: int = 0
    """Calls to the vendor."""
    waited_s: float = 0.0
    """Seconds that they waited for permits."""
    bytes_received: int = 0


TALLY: ContextVar[Tally | None] = ContextVar("quasar_plugin_tally", default=None)
"""Where the calls of the running code are counted; None: nowhere."""


@dataclass(slots=True)
class CallOutcome:
    """How a call to the vendor ended; filled in by whoever makes the call."""

    http_status: int = 0
    """0: none."""
    elapsed_s: float = 0.0
    bytes_received: int = 0
    retry_after_s: float | None = None
    """The vendor asked to wait this long."""
    vendor_remaining: int | None = None
    """What the vendor says is left of its limit."""
    failed: bool = True
    """It ended without an answer."""


class Permits(Protocol):
    """A source of permits."""

    def call(self, weight: int = 1) -> AbstractAsyncContextManager[CallOutcome]:
        """Wait for a permit, hold it while the block runs, and tell the outcome afterwards."""
        ...


class Unlimited:
    """Permits without a limit, for tests of parsing and for recordings that are played back."""

    @asynccontextmanager
    async def call(self, weight: int = 1) -> AsyncIterator[CallOutcome]:
        """Grant at once."""
        yield CallOutcome()
