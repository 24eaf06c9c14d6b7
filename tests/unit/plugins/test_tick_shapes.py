"""Chunks that look like one before are read as each is alone, and those that only seem to are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from quasar.convert import wire
from quasar.convert.columns import TICK_CHUNK, TickChunk, decode_ticks, encode_ticks
from quasar.convert.tick_shapes import TickShapes
from quasar.errors import InvalidArgument
from quasar.model.ticks import TickColumns, TickKind


def trades(start: int, rows: int = 3, **columns: Any) -> TickColumns:
    numbers = np.arange(start, start + rows)
    return TickColumns(numbers, price=numbers / 4, side=np.full(rows, 1, np.uint8), trade_id=numbers, **columns)


def both_ways(shapes: TickShapes, encoded: bytes) -> tuple[Any, Any]:
    """Read a chunk between other bytes, by its shape and alone; an error is what it says."""

    def read(work: Any) -> Any:
        try:
            return work()
        except InvalidArgument as error:
            return error.message

    alone = read(lambda: decode_ticks(encoded))
    within = read(lambda: shapes.decode(b"before" + encoded + b"after", 6, 6 + len(encoded)))
    return within, alone


def agree(shapes: TickShapes, encoded: bytes) -> bool:
    within, alone = both_ways(shapes, encoded)
    if isinstance(alone, str):
        return bool(within == alone)
    return bool(within[0] == alone.series_id and within[1].equals(alone.columns))


@pytest.mark.parametrize("series_id", [1, 127, 128, 70_000, 2**32 - 1])
def test_chunks_of_one_shape_are_read_with_their_own_values(series_id: int) -> None:
    shapes = TickShapes()
    for start in (0, 100, 10_000):
        number, read = shapes.decode(
            encode_ticks(TickChunk(series_id, trades(start))), 0, 110 + len(wire.varint(series_id))
        )
        assert number == series_id
        kinds = np.full(3, TickKind.TRADE, np.uint8)
        assert read.equals(trades(start, kind=kinds))


def test_columns_of_a_known_shape_are_read_only_views() -> None:
    shapes = TickShapes()
    encoded = encode_ticks(TickChunk(5, trades(1)))
    for _ in range(2):
        _, read = shapes.decode(encoded, 0, len(encoded))
        assert read.price is not None
        assert not read.price.flags.owndata
        with pytest.raises(ValueError, match="read-only"):
            read.price[0] = 9.0


def test_every_other_byte_in_the_place_of_one_is_read_as_it_is_alone() -> None:
    encoded = encode_ticks(TickChunk(5, trades(1, 2)))
    for place in range(len(encoded)):
        shapes = TickShapes()
        assert agree(shapes, encoded)
        for value in {0x00, 0x01, 0x7F, 0x80, 0xFF, encoded[place] ^ 1}:
            changed = bytearray(encoded)
            changed[place] = value
            assert agree(shapes, bytes(changed)), (place, value)


def test_a_chunk_that_is_cut_short_never_reads_on_into_what_follows_it() -> None:
    encoded = encode_ticks(TickChunk(3, trades(1)))
    shapes = TickShapes()
    for end in range(len(encoded) + 1):
        assert agree(shapes, encoded[:end])


def test_chunks_of_unusual_forms_are_read_as_they_are_alone() -> None:
    encoded = encode_ticks(TickChunk(3, trades(1)))
    texts = encode_ticks(TickChunk(3, trades(1, trade_id_text=np.array(["a", "b", "c"], dtype=object))))
    sequence = encode_ticks(TickChunk(3, trades(1), first_sequence=9))
    number, _ = TICK_CHUNK.columns["kind"]
    again = encoded + wire.embedded(number, b"\x01\x01\x01")
    shapes = TickShapes()
    for chunk in (b"", b"\x08\x03", encoded[2:], encoded[2:] + encoded[:2], texts, sequence, again, encoded + again):
        for _ in range(2):
            assert agree(shapes, chunk), chunk


def test_two_shapes_of_one_length_are_told_apart() -> None:
    price = encode_ticks(TickChunk(3, TickColumns(np.arange(3), price=np.ones(3))))
    size = encode_ticks(TickChunk(3, TickColumns(np.arange(3), size=np.ones(3))))
    assert len(price) == len(size)
    shapes = TickShapes()
    for chunk in (price, size, price, size):
        assert agree(shapes, chunk)


def test_what_is_remembered_has_an_end() -> None:
    shapes = TickShapes()
    for rows in range(1, 1_500):
        assert agree(shapes, encode_ticks(TickChunk(3, TickColumns(np.arange(rows)))))
    assert len(shapes._known) <= 1_024
