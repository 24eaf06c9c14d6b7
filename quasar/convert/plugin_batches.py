"""Answers of plug-ins as bytes: encoded chunks joined with the rest of the message, and taken apart again as views."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from google.protobuf.message import Message

from quasar.convert import wire
from quasar.convert.columns import BarChunk, TickChunk, decode_bars, decode_ticks
from quasar.convert.wire import Buffer, WireType
from quasar.errors import InvalidArgument

FETCH_BARS = 1
FETCH_TICKS = 1
LIVE_TICKS = 5
LIVE_BARS = 6


def joined(chunks: Iterable[tuple[int, Buffer]], rest: Message | None = None) -> bytes:
    """Return a message made of encoded chunks, each with the number of its field, and of the message `rest`."""
    parts: list[Buffer] = [] if rest is None else [rest.SerializeToString()]
    for number, chunk in chunks:
        parts += (_opening(number, len(chunk)), chunk)
    return b"".join(parts)


@lru_cache(4_096)
def _opening(number: int, size: int) -> bytes:
    """Return what stands before a chunk; a live feed writes thousands each second, of a few sizes."""
    return wire.opening(number, size)


def spans(data: Buffer, numbers: Sequence[int]) -> tuple[dict[int, list[tuple[int, int]]], bytes]:
    """Return where the embedded chunks of some fields, of numbers below 16, begin and end, and the rest of the message.

    Raises:
        InvalidArgument: The bytes are no message.
    """
    chunks: dict[int, list[tuple[int, int]]] = {number: [] for number in numbers}
    # Live feeds bring thousands of chunks each second, hence the look at the one byte of such a tag.
    wanted = {number << 3 | WireType.LENGTH: found for number, found in chunks.items()}
    rest: list[Buffer] = []
    at, end = 0, len(data)
    while at < end:
        found = wanted.get(data[at])
        if found is None:
            after = wire.skip_field(data, at)
            rest.append(data[at:after])
        else:
            if at + 2 < end and data[at + 1] > 0x7F >= data[at + 2]:  # two bytes, as most have
                size, start = data[at + 1] & 0x7F | data[at + 2] << 7, at + 3
            else:
                size, start = wire.read_varint(data, at + 1)
            after = start + size
            if after > end:
                raise InvalidArgument(f"the message must be well-formed protobuf, was cut short at byte {end}")
            found.append((start, after))
        at = after
    return chunks, b"".join(rest)


def taken_apart(data: Buffer, numbers: Sequence[int]) -> tuple[dict[int, list[memoryview]], bytes]:
    """Return views of the embedded chunks of some fields, of numbers below 16, and the rest of the message.

    Raises:
        InvalidArgument: The bytes are no message.
    """
    view = memoryview(data)
    found, rest = spans(view, numbers)
    return {number: [view[start:end] for start, end in several] for number, several in found.items()}, rest


def bar_chunks(views: Iterable[memoryview]) -> list[BarChunk]:
    """Decode chunks of bars; columns are views."""
    return [decode_bars(view) for view in views]


def tick_chunks(views: Iterable[memoryview]) -> list[TickChunk]:
    """Decode chunks of ticks; columns are views."""
    return [decode_ticks(view) for view in views]
