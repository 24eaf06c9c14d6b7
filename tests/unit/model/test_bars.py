from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quasar.errors import InvalidArgument
from quasar.model.bars import Bar, BarColumns, BarState
from quasar.model.instants import NS_PER_MINUTE, TimeRange
from quasar.model.intervals import Interval

_PRICE = st.floats(-1e9, 1e9)
_OPTIONAL = st.none() | _PRICE
_BARS = st.lists(
    st.builds(
        Bar,
        open_time_ns=st.integers(0, 2**60),
        open=_PRICE,
        high=_PRICE,
        low=_PRICE,
        close=_PRICE,
        volume=_OPTIONAL,
        close_time_ns=st.none() | st.integers(0, 2**60),
        trade_count=st.none() | st.integers(0, 10**6),
        vwap=_OPTIONAL,
        quote_volume=_OPTIONAL,
        adjusted_close=_OPTIONAL,
        dividend=_OPTIONAL,
        split_factor=_OPTIONAL,
        open_interest=_OPTIONAL,
        state=st.sampled_from(BarState),
    ),
    max_size=8,
)


def minutes(*numbers: int, price: float = 1.0) -> BarColumns:
    flat = np.full(len(numbers), price)
    return BarColumns(np.array(numbers, dtype=np.int64) * NS_PER_MINUTE, flat, flat, flat, flat, flat)


@given(_BARS)
def test_single_bars_survive_columns_with_every_missing_value(bars: list[Bar]) -> None:
    assert list(BarColumns.from_bars(bars).bars()) == bars


@given(_BARS, _BARS)
def test_joining_chunks_keeps_every_row_also_when_only_one_chunk_has_a_column(
    first: list[Bar], last: list[Bar]
) -> None:
    joined = BarColumns.concatenate([BarColumns.from_bars(first), BarColumns.from_bars(last)])
    assert list(joined.bars()) == first + last


def test_columns_cannot_be_written_to_and_the_callers_array_still_can() -> None:
    volume = np.ones(1)
    columns = BarColumns(np.zeros(1, dtype=np.int64), volume, volume, volume, volume, volume)
    with pytest.raises(ValueError, match="read-only"):
        columns.volume[0] = 2
    volume[0] = 2


def test_columns_of_different_lengths_are_refused_by_name() -> None:
    two, three = np.ones(2), np.ones(3)
    with pytest.raises(InvalidArgument, match="high must be one value for each of the 2 rows"):
        BarColumns(np.zeros(2, dtype=np.int64), two, three, two, two, two)


def test_sorting_and_deduplication_keep_the_last_row_of_an_open_time() -> None:
    columns = BarColumns.concatenate([minutes(2, 0, 1, price=1.0), minutes(1, price=2.0)])
    assert columns.sort().close.tolist() == [1.0, 1.0, 2.0, 1.0]
    assert columns.dedupe().open_time_ns.tolist() == [0, NS_PER_MINUTE, 2 * NS_PER_MINUTE]
    assert columns.dedupe().close.tolist() == [1.0, 2.0, 1.0]


def test_a_range_of_sorted_columns_shares_memory() -> None:
    columns = minutes(0, 1, 2, 3)
    part = columns.within(TimeRange(NS_PER_MINUTE, 3 * NS_PER_MINUTE))
    assert part.open_time_ns.tolist() == [NS_PER_MINUTE, 2 * NS_PER_MINUTE]
    assert np.shares_memory(part.close, columns.close)


def test_close_times_follow_from_the_interval_where_they_are_missing() -> None:
    assert minutes(0, 5).with_close_times(Interval.parse("5min")).close_time_ns.tolist() == [  # type: ignore[union-attr]
        5 * NS_PER_MINUTE,
        10 * NS_PER_MINUTE,
    ]


def test_equality_treats_missing_values_as_equal() -> None:
    assert minutes(0, price=math.nan).equals(minutes(0, price=math.nan))
    assert not minutes(0).equals(minutes(1))


def test_a_bar_of_an_author_needs_an_aware_time() -> None:
    assert Bar.at(dt.datetime(2025, 1, 1, tzinfo=dt.UTC), 1, 2, 0.5, 1.5).open_time.year == 2025
    with pytest.raises(InvalidArgument, match="open_time must be aware"):
        Bar.at(dt.datetime.fromisoformat("2025-01-01"), 1, 2, 0.5, 1.5)
