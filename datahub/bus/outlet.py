"""Where what a feed publishes goes: into the hub of this process, or onto a bus that every replica reads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from datahub.stream.topic import Topic


class Outlet(Protocol):
    """Takes what is published."""

    def publish(self, topic: Topic, field: bytes, rows: int) -> object:
        """Publish one encoded chunk."""
        ...

    def forget(self, series_ids: Iterable[int]) -> None:
        """Leave series out of later snapshots: nothing comes of them any more."""
        ...
