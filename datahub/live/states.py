"""How feeds are: decided by rows and notices that came, not by what a vendor acknowledged."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum

from datahub.live.meter import FeedMeter

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


RECONNECTS = 30
"""Connections that a provider may make anew within `RECONNECT_WINDOW_NS`."""
RECONNECT_WINDOW_NS = 600_000_000_000


@dataclass(slots=True)
class SymbolFacts:
    """What is known of one symbol of a feed since the provider started."""

    rows: int = 0
    resyncs: int = 0
    resyncing: bool = False
    last_event_ns: int = 0
    last_receive_ns: int = 0
    since_ns: int = 0
    """When rows began to come, or when the vendor refused the symbol."""


@dataclass(slots=True)
class FeedFacts:
    """What is known of the feed of one provider."""

    provider: str
    number: int = 0
    """Which connection of the provider it is."""
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
    no_room: frozenset[str] = frozenset()
    """Those of them that nobody asked the vendor for, because no connection has room for them."""
    down: str = ""
    """Why the feed does not run; empty while it does."""
    connect_ns: int = 0
    """When the present connection was made."""
    next_attempt_ns: int = 0
    """When the next attempt is made; 0: none is due."""
    checksum_failures: int = 0
    meter: FeedMeter = field(default_factory=FeedMeter)
    symbols: dict[str, SymbolFacts] = field(default_factory=dict)
    made_anew: deque[int] = field(default_factory=lambda: deque(maxlen=RECONNECTS))
    """When the latest connections were made anew."""

    @property
    def feed_id(self) -> str:
        """How the feed is named from outside."""
        return f"{self.provider}/{self.number}"

    def symbol(self, symbol: str) -> SymbolFacts:
        """Return what is known of a symbol."""
        return self.symbols.setdefault(symbol, SymbolFacts())

    def budget(self, now_ns: int) -> int:
        """Return how many connections may be made anew now."""
        return RECONNECTS - sum(each > now_ns - RECONNECT_WINDOW_NS for each in self.made_anew)

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
