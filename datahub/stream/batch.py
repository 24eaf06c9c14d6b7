"""What readers are handed: entries that were flushed together, joined once however many readers take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from datahub.stream.envelope import sealed
from datahub.stream.log import Cursor, Entry
from datahub.stream.topic import NEVER_LEFT_OUT, Topic

PORTION_BYTES: Final = 1024 * 1024
"""What is handed over or taken at once: clients take messages of 4 MiB unless they say otherwise."""


@dataclass(slots=True, eq=False)
class Batch:
    """Entries that were flushed together. What follows from them is made when it is first asked for, and once."""

    entries: Sequence[Entry]
    cursor: Cursor
    """Resume after the batch from here."""
    time_ns: int
    left_out: Mapping[Topic, int] = field(default_factory=dict)
    """Rows that were left out when the batch was thinned."""
    _payload: bytes | None = None
    _sealed: bytes | None = None
    _thinned: Batch | None = None

    @property
    def payload(self) -> bytes:
        """The entries, joined."""
        if self._payload is None:
            self._payload = b"".join([entry.field for entry in self.entries])
        return self._payload

    @property
    def sealed(self) -> bytes:
        """An envelope that lacks nothing but its number; the same for all readers of the batch."""
        if self._sealed is None:
            self._sealed = sealed(self.cursor, self.time_ns, self.payload)
        return self._sealed

    @property
    def thinned(self) -> Batch:
        """The batch for readers that conflate: the latest of each topic, and what is never left out."""
        if self._thinned is None:
            self._thinned = self._thin()
        return self._thinned

    def _thin(self) -> Batch:
        latest = {entry.topic: entry for entry in self.entries}
        kept: list[Entry] = []
        left_out: dict[Topic, int] = {}
        for entry in self.entries:
            topic = entry.topic
            if topic.content in NEVER_LEFT_OUT or latest[topic] is entry:
                kept.append(entry)
            else:
                left_out[topic] = left_out.get(topic, 0) + entry.rows
        return Batch(kept, self.cursor, self.time_ns, left_out) if left_out else self


@dataclass(frozen=True, slots=True)
class Past:
    """Entries of the log that a reader takes at once; they are joined only then, so that a long past costs little."""

    entries: Sequence[Entry]

    @property
    def payload(self) -> bytes:
        """The entries, joined."""
        return b"".join([entry.field for entry in self.entries])

    @property
    def last_position(self) -> int:
        """Position of the last entry; 0: there is none."""
        return self.entries[-1].position if self.entries else 0


@dataclass(frozen=True, slots=True)
class Portion:
    """What a reader takes at once."""

    payload: bytes
    last_position: int
    batch: Batch | None = None
    """The batch that it is, when it is one."""
