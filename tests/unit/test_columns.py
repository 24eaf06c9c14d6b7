from __future__ import annotations

import contextlib
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasar.convert import wire
from quasar.convert.columns import (
    BAR_CHUNK,
    TICK_CHUNK,
    BarChunk,
    Layout,
    Packing,
    TickChunk,
    decode_bars,
    decode_ticks,
    encode_bars,
    encode_column,
    encode_ticks,
)
from quasar.convert.wire import WireType
from quasar.errors import InvalidArgument
from quasar.model.asset_classes import AssetClass
from quasar.model.bars import Bar, BarColumns, BarOrigin, BarState
from quasar.model.coverage import SlotState
from quasar.model.ticks import Side, Tick, TickColumns, TickFlag, TickKind
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import collection_pb2, market_data_pb2

_FLOATS = st.floats(allow_nan=True, allow_infinity=False)
_INTS = st.integers(-(2**63), 2**63 - 1)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "state": st.sampled_from([int(state) for state in BarState]),
    "origin": st.sampled_from([int(origin) for origin in BarOrigin]),
    "source_series_id": st.integers(0, 2**32 - 1),
    "kind": st.sampled_from([int(kind) for kind in TickKind]),
    "side": st.sampled_from([int(side) for side in Side]),
    "flags": st.integers(0, 15),
    "trade_id_text": st.text(max_size=6),
}
_ALWAYS = {"open_time_ns", "open", "high", "low", "close", "volume", "event_time_ns", "kind"}
_TYPES = {Packing.DOUBLE: np.float64, Packing.SFIXED64: np.int64, Packing.FIXED32: np.uint32, Packing.BYTE: np.uint8}


@st.composite
def columns_of(draw: st.DrawFn, layout: Layout) -> dict[str, Any]:
    rows = draw(st.integers(0, 6))
    found: dict[str, Any] = {}
    for name, (_, packing) in layout.columns.items():
        if name in _ALWAYS or draw(st.booleans()):
            values = _VALUES.get(name, _FLOATS if packing is Packing.DOUBLE else _INTS)
            drawn = draw(st.lists(values, min_size=rows, max_size=rows))
            found[name] = np.array(drawn, dtype=_TYPES.get(packing, np.object_))
    return found


def present(columns: dict[str, Any]) -> dict[str, Any]:
    """What stays after the wire, where an empty column and an absent one are the same."""
    return (
        columns if len(next(iter(columns.values()))) else {k: v for k, v in columns.items() if k in _ALWAYS - {"kind"}}
    )


@given(columns_of(BAR_CHUNK), st.integers(1, 2**32 - 1), st.integers(0, 3))
def test_bars_survive_the_wire(columns: dict[str, Any], series_id: int, adjustment: int) -> None:
    chunk = decode_bars(encode_bars(BarChunk(series_id, BarColumns(**columns), adjustment)))
    assert (chunk.series_id, chunk.adjustment) == (series_id, adjustment)
    assert chunk.columns.equals(BarColumns(**present(columns)))


@given(columns_of(TICK_CHUNK), st.integers(1, 2**32 - 1), st.integers(0, 2**63))
def test_ticks_survive_the_wire(columns: dict[str, Any], series_id: int, sequence: int) -> None:
    chunk = decode_ticks(encode_ticks(TickChunk(series_id, TickColumns(**columns), sequence)))
    assert (chunk.series_id, chunk.first_sequence) == (series_id, sequence)
    assert chunk.columns.equals(TickColumns(**present(columns)))


def assert_same_message(message: Any, layout: Layout, columns: dict[str, Any]) -> None:
    for name in layout.columns:
        expected = columns.get(name)
        np.testing.assert_array_equal(list(getattr(message, name)), [] if expected is None else expected.tolist())


@given(columns_of(BAR_CHUNK))
def test_every_other_reader_sees_an_ordinary_message_of_bars(columns: dict[str, Any]) -> None:
    message = market_data_pb2.BarChunk.FromString(encode_bars(BarChunk(7, BarColumns(**columns))))
    if np.isnan(columns["volume"]).all():
        columns.pop("volume")
    assert message.series_id == 7
    assert_same_message(message, BAR_CHUNK, columns)


@given(columns_of(TICK_CHUNK))
def test_every_other_reader_sees_an_ordinary_message_of_ticks(columns: dict[str, Any]) -> None:
    message = market_data_pb2.TickChunk.FromString(encode_ticks(TickChunk(7, TickColumns(**columns), 9)))
    assert (message.series_id, message.first_sequence) == (7, 9)
    assert_same_message(message, TICK_CHUNK, columns)


@given(columns_of(BAR_CHUNK))
def test_what_protobuf_writes_is_read(columns: dict[str, Any]) -> None:
    message = market_data_pb2.BarChunk(
        series_id=3,
        adjustment=market_data_pb2.ADJUSTMENT_SPLIT,
        **{name: values.tolist() for name, values in columns.items()},
    )
    chunk = decode_bars(message.SerializeToString())
    assert chunk.series_id == 3
    assert chunk.columns.equals(BarColumns(**present(columns)))


def test_the_tables_are_the_contract() -> None:
    for layout, message in ((BAR_CHUNK, market_data_pb2.BarChunk), (TICK_CHUNK, market_data_pb2.TickChunk)):
        contract = {field.name: field.number for field in message.DESCRIPTOR.fields}
        table = {name: number for name, (number, _) in layout.columns.items()}
        assert table | dict(layout.numbers) == contract


@pytest.mark.parametrize(
    ("values", "contract", "prefix"),
    [
        (BarState, market_data_pb2.BarState, "BAR_STATE_"),
        (BarOrigin, market_data_pb2.BarOrigin, "BAR_ORIGIN_"),
        (TickKind, market_data_pb2.TickKind, "TICK_KIND_"),
        (TickFlag, market_data_pb2.TickFlag, "TICK_FLAG_"),
        (SlotState, collection_pb2.SlotState, "SLOT_STATE_"),
    ],
)
def test_the_numbers_of_the_model_are_those_of_the_contract(values: Any, contract: Any, prefix: str) -> None:
    numbers = {name.removeprefix(prefix): number for name, number in contract.items() if number}
    assert {value.name: value.value for value in values if value.value} == numbers


def test_the_asset_classes_of_the_model_are_those_of_the_contract() -> None:
    names = {name.removeprefix("ASSET_CLASS_").lower() for name, number in values_pb2.AssetClass.items() if number}
    assert names == set(AssetClass)


_EXTRA = [
    wire.tag(900, WireType.VARINT) + wire.varint(2**60),
    wire.tag(901, WireType.FIXED64) + b"12345678",
    wire.embedded(902, b"unknown"),
    wire.tag(903, WireType.FIXED32) + b"1234",
    wire.tag(904, WireType.GROUP_START) + wire.embedded(1, b"x") + wire.tag(904, WireType.GROUP_END),
]


@given(columns_of(TICK_CHUNK).filter(lambda columns: len(columns["kind"]) > 0), st.randoms(), st.booleans())
def test_columns_in_any_order_split_unpacked_and_among_unknown_fields_are_read(
    columns: dict[str, Any], dice: random.Random, unpacked: bool
) -> None:
    fields: list[list[bytes]] = [[extra] for extra in _EXTRA] + [[wire.tag(1, WireType.VARINT) + wire.varint(300)]]
    for name, values in columns.items():
        number, packing = TICK_CHUNK.columns[name]
        cut = dice.randint(0, len(values))
        if unpacked and packing in (Packing.DOUBLE, Packing.SFIXED64):
            head = [wire.tag(number, WireType.FIXED64) + value.tobytes() for value in values[:cut]]
        elif unpacked and packing is Packing.BYTE:
            head = [wire.tag(number, WireType.VARINT) + wire.varint(int(value)) for value in values[:cut]]
        else:
            head = [encode_column(TICK_CHUNK, name, values[:cut])]
        fields.append([*head, encode_column(TICK_CHUNK, name, values[cut:])])
    mixed: list[bytes] = []
    while fields:  # interleave the fields, keeping the order within each
        field = dice.choice(fields)
        mixed.append(field.pop(0))
        fields = [rest for rest in fields if rest]
    chunk = decode_ticks(b"".join(mixed))
    assert chunk.series_id == 300
    assert chunk.columns.equals(TickColumns(**columns))


def test_two_encoded_chunks_laid_end_to_end_are_one_chunk() -> None:
    ticks = TickColumns.from_ticks([Tick(1, price=1.0, size=2.0), Tick(2, price=3.0, size=4.0, flags=TickFlag.LATE)])
    data = encode_ticks(TickChunk(7, ticks)) * 2
    assert list(decode_ticks(data).columns.ticks()) == [*ticks.ticks(), *ticks.ticks()]


def test_a_column_is_added_to_an_encoded_chunk_by_appending_it() -> None:
    ticks = TickColumns(np.array([1, 2]), np.array([1.0, 2.0]))
    data = encode_ticks(TickChunk(7, ticks)) + encode_column(TICK_CHUNK, "publish_time_ns", np.array([10, 20]))
    assert decode_ticks(data).columns.publish_time_ns.tolist() == [10, 20]  # type: ignore[union-attr]


def test_columns_in_one_run_are_views_of_the_message() -> None:
    data = encode_bars(BarChunk(7, BarColumns.from_bars([Bar(1, 1, 2, 0.5, 1.5, 10), Bar(2, 1, 2, 0.5, 1.5, 10)])))
    columns = decode_bars(data).columns
    whole = np.frombuffer(data, dtype=np.uint8)
    assert np.shares_memory(columns.close, whole)
    assert np.shares_memory(columns.open_time_ns, whole)


def test_a_chunk_without_prices_that_were_not_asked_for_reads_as_missing() -> None:
    data = encode_column(BAR_CHUNK, "open_time_ns", np.array([5])) + encode_column(BAR_CHUNK, "close", np.array([1.5]))
    columns = decode_bars(data).columns
    assert columns.close.tolist() == [1.5]
    assert np.isnan(columns.volume).all()
    assert columns.state is None


def test_a_state_of_a_newer_contract_reads_as_unspecified() -> None:
    data = encode_column(BAR_CHUNK, "open_time_ns", np.array([5, 6]))
    data += wire.embedded(BAR_CHUNK.columns["state"][0], wire.varint(400) + wire.varint(3))
    columns = decode_bars(data).columns
    assert columns.state.tolist() == [0, 3]  # type: ignore[union-attr]
    assert columns.bar(0).state is BarState.CLOSED


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (wire.embedded(2, b"1234567"), "open_time_ns must be a run of 8 bytes a row, was 7 bytes long"),
        (wire.tag(4, WireType.VARINT) + b"\x01", "open must be a packed column, was of wire type 0"),
        (wire.embedded(4, b"12345678"), "open must have 0 values like open_time_ns, was 1"),
        (wire.tag(2, WireType.LENGTH) + b"\x10" + b"short", "was malformed at byte"),
        (b"\xff" * 11, "was malformed at byte 0"),
        (b"\x07", "was malformed at byte 0"),
        (wire.tag(5, WireType.GROUP_START), "was malformed at byte 1"),
        (wire.tag(5, WireType.GROUP_END), "was malformed at byte"),
    ],
)
def test_bytes_that_are_no_chunk_are_refused_as_a_whole(data: bytes, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        decode_bars(data)


@given(st.binary(max_size=60))
def test_any_bytes_are_either_read_or_refused_in_words(data: bytes) -> None:
    for decode in (decode_bars, decode_ticks):
        with contextlib.suppress(InvalidArgument):
            decode(data)


def test_a_value_that_does_not_fit_its_column_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="flags must hold values below 128, was 200"):
        encode_ticks(TickChunk(1, TickColumns(np.array([1]), flags=np.array([200], dtype=np.uint8))))


@given(st.integers(0, 2**64 - 1))
def test_a_varint_survives(value: int) -> None:
    data = wire.varint(value)
    assert wire.read_varint(data, 0) == (value, len(data))
