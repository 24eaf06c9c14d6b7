"""Messages of plug-ins: chunks are found as views, whatever stands around them; what is cut short is refused."""

from __future__ import annotations

import pytest

from quasar.convert import wire
from quasar.convert.columns import TickChunk, decode_ticks, encode_ticks
from quasar.convert.plugin_batches import LIVE_BARS, LIVE_TICKS, joined, taken_apart
from quasar.errors import InvalidArgument
from quasar.model.ticks import TickColumns
from quasar_proto.plugin.v1 import provider_pb2

GROUP = wire.tag(9, wire.WireType.GROUP_START) + wire.embedded(5, b"not ours") + wire.tag(9, wire.WireType.GROUP_END)


def test_chunks_are_found_among_everything_else() -> None:
    rest = provider_pb2.StreamLiveResponse(sequence=300)
    rest.symbols.add(series_id=7, message="subscribed")
    long = b"x" * 300
    message = GROUP + joined([(LIVE_TICKS, b"first"), (LIVE_BARS, b""), (LIVE_TICKS, long)], rest)
    found, left = taken_apart(message, (LIVE_TICKS, LIVE_BARS))
    assert [bytes(view) for view in found[LIVE_TICKS]] == [b"first", long]
    assert [bytes(view) for view in found[LIVE_BARS]] == [b""]
    read = provider_pb2.StreamLiveResponse.FromString(left)
    assert (read.sequence, read.symbols[0].message, len(read.ticks)) == (300, "subscribed", 0)


@pytest.mark.parametrize("size", [1, 3, 40, 200])
def test_a_message_that_is_cut_short_is_refused(size: int) -> None:
    message = joined([(LIVE_TICKS, b"x" * size)])
    for end in range(1, len(message)):
        with pytest.raises(InvalidArgument, match="well-formed protobuf"):
            taken_apart(message[:end], (LIVE_TICKS,))


def test_decoded_columns_are_read_only_whoever_owns_the_bytes() -> None:
    given = TickColumns([1, 2], price=[1.5, 2.5])  # type: ignore[arg-type]  # lists become columns
    encoded = encode_ticks(TickChunk(3, given))
    for data in (encoded, bytearray(encoded), memoryview(bytearray(encoded))):
        read = decode_ticks(data).columns
        assert read.price is not None
        assert read.equals(decode_ticks(encoded).columns)
        with pytest.raises(ValueError, match="read-only"):
            read.price[0] = 9.0
