"""How long a live feed waits for what."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a feed waits for what."""

    connect_s: float = 15.0
    acknowledge_s: float = 10.0
    """For the answer to a subscription."""
    ping_s: float = 20.0
    """Between two pings, and for the answer to one; a quiet market answers, a dead feed does not."""
    heartbeat_s: float | None = None
    """The vendor sends something at least this often even in a quiet market; three times as long without anything is
    dead. None: the vendor promises nothing."""
