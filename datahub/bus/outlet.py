"""Where what a feed publishes goes: into the hub of this process, or onto a bus that every replica reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from datahub.stream.topic import Topic


class Outlet(Protocol):
    """Takes what is published."""

    def publish(self, topic: Topic, field: bytes, rows: int) -> object:
        """Publish one encoded chunk."""
        ...

    def forget(self, series_ids: Iterable[int]) -> None:
        """Leave series out of later snapshots: nothing comes of them any more."""
        ...


@dataclass(slots=True)
class RemoteFeeds:
    """How the feeds are that other replicas run, as they told last."""

    facts: dict[str, tuple[int, Mapping[str, Any]]] = field(default_factory=dict)
    """When it was told, and what, by provider."""
    rows_ns: dict[int, int] = field(default_factory=dict)
    """When the last row of a series of ticks came over the bus."""
