"""What the platform hands to a running plug-in: clock, randomness, HTTP, log, secrets, a folder of its own."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from quasar import errors
from quasar.clock import Clock, SystemClock
from quasar.sdk.http_options import HttpOptions
from quasar.sdk.jitter import FullJitter
from quasar.sdk.permits import Permits, Unlimited
from quasar.sdk.redaction import Redaction

if TYPE_CHECKING:  # a plug-in without HTTP must not pay for loading the client
    from quasar.sdk.http import HttpClient
    from quasar.sdk.wire import Wire


@dataclass(slots=True)
class Context:
    """The surroundings of one running plug-in. For tests, `Context()` is enough: no limits, no secrets."""

    name: str = "plugin"
    clock: Clock = field(default_factory=SystemClock)
    random: random.Random = field(default_factory=random.Random)
    permits: Permits = field(default_factory=Unlimited)
    scratch: Path = field(default_factory=Path)
    """A folder that the plug-in may write to; emptied when the process ends."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    validating: bool = False
    """The process runs to validate the code; there is no network."""
    redact: Redaction = field(init=False)
    log: logging.Logger = field(init=False)
    wire: Wire | None = None
    """Where traffic is kept, or played back; None: clients connect straight to their vendors."""
    _http: HttpClient | None = None

    def __post_init__(self) -> None:
        """Make what follows from the other fields."""
        self.redact = Redaction(lambda: self.secrets.values())
        self.log = logging.getLogger(self.name)

    @property
    def jitter(self) -> FullJitter:
        """Waits before another attempt."""
        return FullJitter(self.random.random)

    def secret(self, name: str) -> str:
        """Return the value of a secret.

        Raises:
            FailedPrecondition: It is not stored.
        """
        value = self.secrets.get(name)
        if self.wire is not None:
            value = self.wire.secret(name, value)
        if value is None:
            raise errors.FailedPrecondition(f"secret {name} must be stored for {self.name}, was absent")
        return value

    def http(self, options: HttpOptions) -> HttpClient:
        """Return the HTTP client, made on first use."""
        if self._http is None:
            from quasar.sdk.http import HttpClient

            self._http = HttpClient(
                options,
                permits=self.permits,
                clock=self.clock,
                jitter=self.jitter,
                redaction=self.redact,
                wire=self.wire,
            )
        return self._http

    async def close(self) -> None:
        """Close what was opened."""
        if self._http is not None:
            await self._http.close()
            self._http = None
