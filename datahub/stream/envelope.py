"""The bytes of an envelope: a few numbers in front, then encoded parts laid end to end.

Protobuf lets the fields of a message stand in any order and repeated fields be appended, so an envelope is a join of
bytes; nothing is parsed or copied twice. Field numbers are those of `StreamMarketDataResponse`.
"""

from __future__ import annotations

import struct
from typing import Final

from datahub.stream.log import Cursor
from quasar.convert import wire
from quasar.convert.wire import WireType

GAPS: Final = 13
TICKS: Final = 14
BARS: Final = 15

_EPOCH = wire.tag(1, WireType.VARINT)
_SEQUENCE = wire.tag(2, WireType.VARINT)
_PUBLISH_TIME = wire.tag(4, WireType.FIXED64)
_CURSOR: Final = 3


def envelope(sequence: int, cursor: Cursor, time_ns: int, *parts: bytes) -> bytes:
    """Return an envelope.

    Args:
        sequence: Counts the envelopes of the call, from 1.
        cursor: Resume after the envelope from here.
        time_ns: When it is made.
        parts: Encoded fields.
    """
    return b"".join((_SEQUENCE, wire.varint(sequence), *_header(cursor, time_ns), *parts))


def sealed(cursor: Cursor, time_ns: int, payload: bytes) -> bytes:
    """Return an envelope without its number, which is all that differs between readers of the same data."""
    return b"".join((*_header(cursor, time_ns), payload))


def numbered(sequence: int, rest: bytes) -> bytes:
    """Return a sealed envelope with its number."""
    return b"".join((_SEQUENCE, wire.varint(sequence), rest))


def payload_of(field: bytes) -> bytes:
    """Return what stands in an encoded field."""
    ((_, _, _, start, end),) = wire.read_fields(field)
    return field[start:end]


def _header(cursor: Cursor, time_ns: int) -> tuple[bytes, ...]:
    return (
        _EPOCH,
        wire.varint(cursor.epoch),
        wire.embedded(_CURSOR, str(cursor).encode()),
        _PUBLISH_TIME,
        struct.pack("<q", time_ns),
    )
