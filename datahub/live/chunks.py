"""Ticks and bars as fields of envelopes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from datahub.live.bars import BuiltBar
from datahub.stream.envelope import BARS, TICKS
from quasar.convert import wire
from quasar.convert.columns import TICK_CHUNK, BarChunk, TickChunk, encode_bars, encode_ticks
from quasar.convert.wire import Buffer, WireType
from quasar.model.bars import BarColumns, BarOrigin
from quasar.model.ticks import TickColumns, TickKind

MOST_ROWS: Final = 4096
"""Rows of one chunk: some 250 KiB, so that every client, and a bus, takes the message that it stands in."""

_NS = struct.Struct("<q")
_FIELD = wire.tag(TICKS, WireType.LENGTH)
_PUBLISH = wire.tag(TICK_CHUNK.columns["publish_time_ns"][0], WireType.LENGTH)
_FIRST = wire.tag(TICK_CHUNK.numbers["first_sequence"], WireType.VARINT)


def pieces(ticks: TickColumns) -> Iterator[TickColumns]:
    """Yield ticks in pieces of which each makes a chunk."""
    for first in range(0, len(ticks), MOST_ROWS):
        yield ticks[first : first + MOST_ROWS]


def tick_field(series_id: int, ticks: TickColumns, first: int, now_ns: int, encoded: Buffer | None) -> bytes:
    """Return ticks as a field of an envelope: what is appended to an encoded message is part of it.

    Args:
        series_id: Their series.
        ticks: Ticks of one kind.
        first: Number of the first one.
        now_ns: When they are published.
        encoded: The same ticks as an encoded `TickChunk`, where they came as one.
    """
    if ticks.publish_time_ns is not None:
        ticks, encoded = replace(ticks, publish_time_ns=None), None
    chunk = encode_ticks(TickChunk(series_id, ticks)) if encoded is None else encoded
    rows = len(ticks)
    tail = b"".join((_PUBLISH, wire.varint(8 * rows), _NS.pack(now_ns) * rows, _FIRST, wire.varint(first)))
    return b"".join((_FIELD, wire.varint(len(chunk) + len(tail)), chunk, tail))


def bar_field(built: BuiltBar) -> bytes:
    """Return a bar as a field of an envelope."""
    columns = BarColumns.from_bars([built.bar])
    if built.origin is not BarOrigin.LIVE_TICKS:
        columns = replace(columns, origin=np.array([built.origin], np.uint8))
    return wire.embedded(BARS, encode_bars(BarChunk(built.series_id, columns)))


def kind_of(ticks: TickColumns) -> TickKind:
    """Return the kind of ticks that are all of one."""
    return TickKind.TRADE if ticks.kind is None else TickKind(int(ticks.kind[0]))
