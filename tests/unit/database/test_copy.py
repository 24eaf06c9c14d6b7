"""Binary COPY between numpy and PostgreSQL: what goes in comes out, and what cannot go in is refused by name."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from quasar.database.copy import Column, RowFormat
from quasar.errors import InvalidArgument

BARS = RowFormat([Column("series_id", "int4"), Column("open_time", "timestamptz"), Column("close", "float8")])
EVERY = RowFormat(
    [
        Column("flag", "bool"),
        Column("small", "int2"),
        Column("middle", "int4"),
        Column("large", "int8"),
        Column("single", "float4"),
        Column("double", "float8"),
        Column("day", "date"),
        Column("time", "timestamptz"),
    ]
)
FIRST_US, LAST_US = -210_866_803_200_000_000, 2**63 - 2
FIRST_DAY, LAST_DAY = -2_440_588, 2_145_042_905


@st.composite
def tables(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Draw columns of every kind with masks."""
    rows = draw(st.integers(0, 40))
    kinds: dict[str, Any] = {
        "flag": (np.bool_, st.booleans()),
        "small": (np.int16, st.integers(-(2**15), 2**15 - 1)),
        "middle": (np.int32, st.integers(-(2**31), 2**31 - 1)),
        "large": (np.int64, st.integers(-(2**63), 2**63 - 1)),
        "single": (np.float32, st.floats(width=32)),
        "double": (np.float64, st.floats()),
        "day": (np.int32, st.one_of(st.integers(FIRST_DAY, LAST_DAY), st.sampled_from([-(2**31), 2**31 - 1]))),
        "time": (
            np.int64,
            st.one_of(st.integers(FIRST_US, LAST_US - 946_684_800_000_000), st.sampled_from([-(2**63), 2**63 - 1])),
        ),
    }
    values = {name: draw(npst.arrays(dtype, rows, elements=items)) for name, (dtype, items) in kinds.items()}
    masked = draw(st.sets(st.sampled_from(sorted(kinds))))
    nulls = {name: draw(npst.arrays(np.bool_, rows)) for name in masked}
    return values, nulls, rows


@given(tables())
def test_every_kind_of_value_comes_back_as_it_went_in(table: tuple[dict[str, Any], dict[str, Any], int]) -> None:
    values, nulls, rows = table
    decoded = EVERY.decode(EVERY.encode(values, rows, nulls))
    assert decoded.rows == rows
    for name, given_values in values.items():
        missing = nulls.get(name, np.zeros(rows, np.bool_))
        assert decoded.columns[name].dtype == given_values.dtype
        np.testing.assert_array_equal(decoded.columns[name][~missing], given_values[~missing])
        np.testing.assert_array_equal(decoded.nulls.get(name, np.zeros(rows, np.bool_)), missing)


@given(tables(), st.integers(1, 9))
def test_the_size_of_the_blocks_changes_nothing(
    table: tuple[dict[str, Any], dict[str, Any], int], block_rows: int
) -> None:
    values, nulls, rows = table
    whole = EVERY.encode(values, rows, nulls).tobytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("quasar.database.copy._BLOCK_ROWS", block_rows)
        assert EVERY.encode(values, rows, nulls).tobytes() == whole


def test_the_bytes_are_those_of_the_manual() -> None:
    encoded = BARS.encode({"series_id": 7, "open_time": 946_684_800_000_001, "close": 1.5}, 1).tobytes()
    row = struct.pack("!h ii iq id", 3, 4, 7, 8, 1, 8, 1.5)
    assert encoded == b"PGCOPY\n\xff\r\n\0" + bytes(8) + row + b"\xff\xff"


def test_a_missing_value_is_a_length_of_minus_one_without_bytes() -> None:
    encoded = BARS.encode(
        {"series_id": 7, "open_time": 946_684_800_000_000, "close": 1.5}, 1, {"close": np.array([True])}
    ).tobytes()
    assert encoded[19:-2] == struct.pack("!h ii iq i", 3, 4, 7, 8, 0, -1)


def test_one_value_stands_for_all_rows() -> None:
    decoded = BARS.decode(BARS.encode({"series_id": 7, "open_time": np.arange(3), "close": 0.5}, 3))
    assert decoded.columns["series_id"].tolist() == [7, 7, 7]
    assert decoded.columns["open_time"].tolist() == [0, 1, 2]


def test_the_result_can_be_handed_to_asyncpg_which_takes_bytes_for_a_file_name() -> None:
    assert isinstance(BARS.encode({"series_id": 1, "open_time": 0, "close": 1.0}, 1), memoryview)


def test_missing_floats_are_nan_and_other_missing_values_zero() -> None:
    mask = np.array([False, True])
    decoded = BARS.decode(
        BARS.encode({"series_id": 1, "open_time": 5, "close": 1.0}, 2, {"open_time": mask, "close": mask})
    )
    assert decoded.columns["open_time"].tolist() == [5, 0]
    np.testing.assert_array_equal(decoded.columns["close"], [1.0, np.nan])
    assert set(decoded.nulls) == {"open_time", "close"}


def test_not_a_number_is_a_value_and_not_a_missing_one() -> None:
    decoded = BARS.decode(BARS.encode({"series_id": 1, "open_time": 0, "close": np.nan}, 1))
    assert decoded.nulls == {}
    assert np.isnan(decoded.columns["close"][0])


def test_times_may_be_given_as_datetime64_in_microseconds() -> None:
    times = np.array(["2026-01-05T00:00:00.000001"], "datetime64[us]")
    decoded = BARS.decode(BARS.encode({"series_id": 1, "open_time": times, "close": 1.0}, 1))
    assert decoded.columns["open_time"].tolist() == [1_767_571_200_000_001]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"close": None}, "column close must be given"),
        ({"close": np.ones(3)}, r"column close must have 2 values, was \(3,\)"),
        ({"series_id": 2**31}, "column series_id must be within int4, was 2147483648 to 2147483648"),
        ({"series_id": 1.5}, "column series_id must hold whole numbers, was float64"),
        ({"open_time": np.array([0.0, 1.0])}, "column open_time must hold whole numbers, was float64"),
        ({"open_time": np.zeros(2, "datetime64[ns]")}, "must be datetime64.us. or int64 microseconds"),
        ({"open_time": -210_866_803_200_000_001}, "column open_time must hold times that PostgreSQL has"),
    ],
)
def test_what_a_column_cannot_hold_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    values = {"series_id": 1, "open_time": 0, "close": 1.0, **change}
    with pytest.raises(InvalidArgument, match=message):
        BARS.encode({name: value for name, value in values.items() if value is not None}, 2)


def test_a_mask_of_another_length_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="the mask of column close must have 2 values"):
        BARS.encode({"series_id": 1, "open_time": 0, "close": 1.0}, 2, {"close": np.array([True])})


def test_a_value_under_a_mask_need_not_fit() -> None:
    mask = np.array([True, False])
    encoded = BARS.encode({"series_id": np.array([2**40, 3]), "open_time": 0, "close": 1.0}, 2, {"series_id": mask})
    assert BARS.decode(encoded).columns["series_id"].tolist() == [0, 3]


def test_no_rows_are_a_header_and_a_trailer() -> None:
    nothing = BARS.encode({"series_id": 1, "open_time": 0, "close": 1.0}, 0)
    assert len(nothing) == 21
    assert BARS.decode(nothing).rows == 0


@pytest.mark.parametrize("cut", [1, 2, 10, 15])
def test_a_reply_that_was_cut_off_is_refused(cut: int) -> None:
    encoded = BARS.encode({"series_id": 1, "open_time": 0, "close": 1.0}, 2)
    with pytest.raises(ValueError, match="must be a complete binary COPY"):
        BARS.decode(encoded[:-cut])


def test_a_reply_with_other_columns_is_refused() -> None:
    other = RowFormat([Column("series_id", "int4"), Column("close", "float8")])
    with pytest.raises(ValueError, match="a row must have 3 columns"):
        BARS.decode(other.encode({"series_id": 1, "close": 1.0}, 2))
    wider = RowFormat([Column("series_id", "int8"), Column("open_time", "timestamptz"), Column("close", "float8")])
    with pytest.raises(ValueError, match=r"series_id int4, open_time timestamptz, close float8|must have 3 columns"):
        BARS.decode(wider.encode({"series_id": 1, "open_time": 0, "close": 1.0}, 2))


@pytest.mark.parametrize("columns", [[], [Column("a", "int4"), Column("a", "int8")]])
def test_a_format_needs_columns_with_distinct_names(columns: list[Column]) -> None:
    with pytest.raises(ValueError, match="distinct names"):
        RowFormat(columns)
