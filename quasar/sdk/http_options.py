"""How an HTTP client behaves; apart from the client, so that declaring it loads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """How patient a client is."""

    base_url: str = ""
    """What relative URLs are relative to."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with each request."""
    timeout_s: float = 30.0
    """For one attempt, from connecting to the last byte."""
    attempts: int = 5
    """Attempts in all for what may be repeated."""
    longest_wait_s: float = 120.0
    """A vendor that asks to wait longer ends the call with `Throttled`; the work is taken up again later."""
    connections: int = 5
    """Open at once."""
    largest_body: int = 256 * 1024 * 1024
    """Bytes that an answer may have."""
