"""How feeds are: decided by rows and notices that came, not by what a vendor acknowledged."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

QUIET_NS = 60_000_000_000
"""A symbol without a row for so long is quiet while its feed lives."""
STALE_NS = 30_000_000_000
"""A feed without anything for so long, heartbeats included, is stale."""


class FeedState(IntEnum):
    """How a feed or a symbol is; numbered as in the contract."""

    UNSPECIFIED = 0
    LIVE = 1
    QUIET = 2
    STALE = 3
    RECONNECTING = 4
    SESSION_CLOSED = 5
    DOWN = 6


@dataclass(slots=True)
class FeedFacts:
    """What is known of the feed of one provider."""

    provider: str
    connected: bool = False
    detail: str = ""
    since_ns: int = 0
    last_message_ns: int = 0
    connects: int = 0
    host: str = ""
    rows: int = 0
    gaps: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    """Symbols that the vendor refused, with its words."""
    down: str = ""
    """Why the feed does not run; empty while it does."""

    def state(self, now_ns: int) -> FeedState:
        """Return how the feed is."""
        if self.down:
            return FeedState.DOWN
        if not self.connected:
            return FeedState.RECONNECTING
        return FeedState.STALE if now_ns - self.last_message_ns > STALE_NS else FeedState.LIVE

    def symbol_state(self, symbol: str, last_row_ns: int, now_ns: int) -> FeedState:
        """Return how a symbol of the feed is."""
        if symbol in self.refused:
            return FeedState.DOWN
        state = self.state(now_ns)
        if state is FeedState.LIVE and now_ns - last_row_ns > QUIET_NS:
            return FeedState.QUIET
        return state
