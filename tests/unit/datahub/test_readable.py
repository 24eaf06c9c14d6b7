from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from datahub.reads.readable import Stored, readable
from datahub.reads.resampling import touched
from datahub.series.series import Series, SeriesName
from quasar.model.coverage import TimeRanges
from quasar.model.instants import NS_PER_DAY, to_ns

NOW = to_ns(dt.datetime(2026, 1, 5, tzinfo=dt.UTC))


def held(interval: str, *, first_days: float | None, last_days: float = 0.0, series_id: int = 0) -> Stored:
    """A series whose history began and whose newest bar opened so many days ago."""
    series = Series(series_id=series_id or hash(interval) % 1000 + 1, name=SeriesName("p", "S", interval))
    first = None if first_days is None else NOW - int(first_days * NS_PER_DAY)
    return Stored(series, first, NOW - int(last_days * NS_PER_DAY))


def chosen(interval: str, *stored: Stored, own: Series | None = None) -> str:
    """Which interval a request is answered from; with `>` when it is computed."""
    found = readable(SeriesName("p", "S", interval), own, stored)
    if found is None:
        return ""
    return found.series.name.interval + (f" > {found.target}" if found.target else "")


@pytest.mark.parametrize(
    ("interval", "stored", "answer"),
    [
        ("5min", [held("1min", first_days=30)], "1min > 5min"),
        ("5min", [held("1min", first_days=30), held("5min", first_days=3)], "5min"),
        ("5min", [held("1min", first_days=30), held("5min", first_days=None)], "1min > 5min"),
        ("5min", [held("1min", first_days=None), held("5min", first_days=None)], "5min"),
        ("1min", [held("5min", first_days=30)], ""),
        ("7min", [held("5min", first_days=30)], ""),
        ("1d", [held("1min", first_days=700), held("1h", first_days=30)], "1min > 1d"),
        ("1d", [held("1min", first_days=30), held("1h", first_days=700)], "1h > 1d"),
        ("1d", [held("1min", first_days=29.9), held("1h", first_days=29.1)], "1h > 1d"),
        ("1d", [held("1min", first_days=700), held("1h", first_days=None)], "1min > 1d"),
        ("1d", [held("1min", first_days=30), held("1h", first_days=700, last_days=400)], "1min > 1d"),
        ("1M", [held("1d", first_days=700), held("1w", first_days=900)], "1d > 1M"),
    ],
)
def test_bars_are_computed_from_the_finer_series_that_says_most(
    interval: str, stored: list[Stored], answer: str
) -> None:
    assert chosen(interval, *stored) == answer


def test_a_series_without_any_bar_stays_what_it_is() -> None:
    own = Series(series_id=7, name=SeriesName("p", "S", "5min"))
    assert chosen("5min", own=own) == "5min"
    assert chosen("5min", held("1min", first_days=1), own=own) == "1min > 5min"


def test_slots_that_overlap_some_ranges_are_counted_once() -> None:
    slots = np.arange(10, dtype=np.int64) * 10
    ranges = TimeRanges.of([(5, 12), (13, 14), (19, 20), (40, 60), (95, 200)])
    assert touched(slots, slots + 10, ranges) == len({0, 1, 4, 5, 9})
    assert touched(slots, slots + 10, TimeRanges.of([])) == 0
