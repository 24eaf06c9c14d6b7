"""Entries of the live log as bytes, for files and for a bus."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from datahub.stream.log import Entry
from datahub.stream.topic import Content, Topic

_ENTRY = struct.Struct("<qqIBII")
"""Position, time, series, content, rows, length of the field that follows."""


def packed(entries: Iterable[Entry]) -> bytes:
    """Return entries one after the other."""
    parts: list[bytes] = []
    for one in entries:
        topic = one.topic
        parts.append(_ENTRY.pack(one.position, one.time_ns, topic.series_id, topic.content, one.rows, len(one.field)))
        parts.append(one.field)
    return b"".join(parts)


def unpacked(payload: bytes) -> Iterator[Entry]:
    """Yield the entries of `packed` bytes."""
    at = 0
    while at < len(payload):
        position, time_ns, series_id, content, rows, length = _ENTRY.unpack_from(payload, at)
        at += _ENTRY.size
        yield Entry(position, Topic(series_id, Content(content)), payload[at : at + length], rows, time_ns)
        at += length
