"""Answers of plug-ins as bytes: encoded chunks joined with the rest of the message, and taken apart again as views."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from google.protobuf.message import Message

from quasar.convert import wire
from quasar.convert.columns import BarChunk, TickChunk, decode_bars, decode_ticks
from quasar.convert.wire import Buffer, WireType

FETCH_BARS = 1
FETCH_TICKS = 1
LIVE_TICKS = 5
LIVE_BARS = 6


def joined(chunks: Iterable[tuple[int, bytes]], rest: Message | None = None) -> bytes:
    """Return a message made of encoded chunks, each with the number of its field, and of the message `rest`."""
    parts = [] if rest is None else [rest.SerializeToString()]
    parts += [wire.embedded(number, chunk) for number, chunk in chunks]
    return b"".join(parts)


def taken_apart(data: Buffer, numbers: Sequence[int]) -> tuple[dict[int, list[memoryview]], bytes]:
    """Return views of the embedded chunks of some fields, and the rest of the message.

    Raises:
        InvalidArgument: The bytes are no message.
    """
    view = memoryview(data)
    chunks: dict[int, list[memoryview]] = {number: [] for number in numbers}
    rest: list[memoryview] = []
    last = 0
    for number, wire_type, _value, start, end in wire.read_fields(view):
        if number in chunks and wire_type is WireType.LENGTH:
            chunks[number].append(view[start:end])
        else:
            rest.append(view[last:end])
        last = end
    return chunks, b"".join(rest)


def bar_chunks(views: Iterable[memoryview]) -> list[BarChunk]:
    """Decode chunks of bars; columns are views."""
    return [decode_bars(view) for view in views]


def tick_chunks(views: Iterable[memoryview]) -> list[TickChunk]:
    """Decode chunks of ticks; columns are views."""
    return [decode_ticks(view) for view in views]
