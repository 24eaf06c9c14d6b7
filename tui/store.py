"""What the console knows now: plain values that feeds write and views read. No terminal here."""

from __future__ import annotations

import datetime as dt
from collections import deque
from dataclasses import dataclass, field
from typing import Any

POINTS = 60
LOG_LINES = 2000
EVENTS = 500


def log_key(line: Any) -> str:
    """Name a line of a log: a service counts its lines from its start."""
    return f"{line.service}/{line.time}/{line.sequence}"


@dataclass(slots=True)
class Link:
    """How one feed of the console is."""

    state: str = "connecting"
    """`connecting`, `live`, `reconnecting`."""
    error: str = ""
    last: dt.datetime | None = None


@dataclass(slots=True)
class Store:
    """Everything that views show."""

    systems: dict[str, Any] = field(default_factory=dict)
    """`SystemInfo` by service; absent: the service does not answer."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """`SystemMetrics` by service."""
    loads: dict[str, deque[float]] = field(default_factory=dict)
    """Calls a second by service."""
    providers: dict[str, Any] = field(default_factory=dict)
    codes: dict[str, Any] = field(default_factory=dict)
    subscriptions: dict[str, Any] = field(default_factory=dict)
    runs: dict[str, Any] = field(default_factory=dict)
    gaps: dict[str, Any] = field(default_factory=dict)
    prices: dict[str, Any] = field(default_factory=dict)
    recent: dict[str, deque[float]] = field(default_factory=dict)
    """Latest prices, oldest first, by the key of `prices`."""
    directions: dict[str, int] = field(default_factory=dict)
    """1, 0 or -1: how a price last moved."""
    instances: dict[str, Any] = field(default_factory=dict)
    orders: dict[str, Any] = field(default_factory=dict)
    positions: dict[str, Any] = field(default_factory=dict)
    portfolio: Any = None
    trading_state: Any = None
    events: deque[Any] = field(default_factory=lambda: deque(maxlen=EVENTS))
    logs: deque[Any] = field(default_factory=lambda: deque(maxlen=LOG_LINES))
    links: dict[str, Link] = field(default_factory=dict)
    """By the name of the feed."""
    loaded: set[str] = field(default_factory=set)
    """Names of what was read at least once."""
    cut: set[str] = field(default_factory=set)
    """Names of what there is more of than was read."""
    changes: int = 0
    """Grows with every change; views repaint when it did."""

    def changed(self, *loaded: str) -> None:
        """Note that something changed, and what is there now."""
        self.loaded.update(loaded)
        self.changes += 1

    def read(self, name: str, answer: Any) -> None:
        """Note whether a page of a list was all of it."""
        if answer.next_page_token:
            self.cut.add(name)
        else:
            self.cut.discard(name)

    def put_price(self, key: str, price: Any) -> None:
        """Take a price in."""
        former = self.prices.get(key)
        self.prices[key] = price
        if price.last is None:
            return
        self.recent.setdefault(key, deque(maxlen=POINTS)).append(price.last)
        if former is not None and former.last is not None and former.last != price.last:
            self.directions[key] = 1 if price.last > former.last else -1

    def put_metrics(self, service: str, metrics: Any) -> None:
        """Take figures of a service in."""
        self.metrics[service] = metrics
        self.loads.setdefault(service, deque(maxlen=POINTS)).append(metrics.calls_per_second)

    def link(self, name: str) -> Link:
        """Return how a feed is."""
        return self.links.setdefault(name, Link())

    @property
    def worst_link(self) -> tuple[str, Link] | None:
        """The feed that is not live, if any."""
        return next(((name, link) for name, link in self.links.items() if link.state != "live"), None)
