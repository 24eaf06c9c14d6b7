from __future__ import annotations

import datetime as dt
import gzip
import json
import math
from typing import Any

import numpy as np
import pytest

from quasar.calendars import calendar_for
from quasar.model.bar_checks import Flaw, check_bars, read_rows
from quasar.model.bars import Bar, BarColumns
from quasar.model.instants import NS_PER_HOUR, TimeRange, to_ns
from quasar.model.intervals import Interval
from tests.unit.recorded import recorded

MINUTE = 60_000_000_000


def bar(
    time: int = 0, open_: float = 10, high: float = 11, low: float = 9, close: float = 10, volume: float = 1
) -> Bar:
    return Bar(time * MINUTE, open_, high, low, close, volume)


def flaws(*bars: Bar, **options: Any) -> list[Flaw]:
    return [Flaw(int(flaw)) for flaw in check_bars(BarColumns.from_bars(bars), **options).flaws]


@pytest.mark.parametrize(
    ("bad", "flaw"),
    [
        (bar(volume=-1), Flaw.NEGATIVE_VOLUME),
        (bar(high=9, low=11), Flaw.HIGH_BELOW_LOW),
        (bar(close=12), Flaw.OUTSIDE_HIGH_LOW),
        (bar(open_=8), Flaw.OUTSIDE_HIGH_LOW),
    ],
)
def test_implausible_values_are_flaws_in_a_strict_check_only(bad: Bar, flaw: Flaw) -> None:
    assert flaws(bad) == [flaw]
    assert flaws(bad, strict=False) == [Flaw(0)]


@pytest.mark.parametrize("bad", [bar(close=math.nan), bar(high=math.inf), bar(volume=math.inf)])
def test_values_that_are_not_finite_are_flaws_in_every_check(bad: Bar) -> None:
    assert Flaw.NOT_FINITE in flaws(bad)[0]
    assert flaws(bad, strict=False) == [Flaw.NOT_FINITE]


def test_a_missing_volume_is_no_flaw() -> None:
    assert flaws(Bar(0, 1, 1, 1, 1, None)) == [Flaw(0)]


def test_one_bad_row_leaves_the_others_good_and_says_why() -> None:
    check = check_bars(BarColumns.from_bars([bar(0), bar(1, close=math.nan), bar(2)]))
    assert check.good.tolist() == [True, False, True]
    assert check.rejected() == [(1, "prices and volume must be finite numbers")]
    assert not check.all_good


def test_bars_outside_the_half_open_request_are_rejected() -> None:
    assert flaws(bar(0), bar(1), bar(2), requested=TimeRange(MINUTE, 2 * MINUTE)) == [
        Flaw.OUTSIDE_REQUEST,
        Flaw(0),
        Flaw.OUTSIDE_REQUEST,
    ]


def test_of_repeated_bars_the_last_good_one_is_kept_and_contradictions_are_told_apart() -> None:
    assert flaws(bar(0), bar(1), bar(0), bar(1, close=9.5)) == [Flaw.REPEATED, Flaw.CONFLICTING, Flaw(0), Flaw(0)]
    assert flaws(bar(0), bar(0, close=math.nan)) == [Flaw(0), Flaw.NOT_FINITE]


def test_bars_that_begin_between_slots_are_rejected() -> None:
    assert flaws(bar(0), bar(7), interval=Interval.parse("5min")) == [Flaw(0), Flaw.NOT_ALIGNED]


def test_hourly_bars_cut_from_the_open_are_accepted_where_the_calendar_explains_them() -> None:
    half_past = Bar(to_ns(dt.datetime(2025, 1, 6, 14, 30, tzinfo=dt.UTC)), 1, 1, 1, 1)
    quarter_past = Bar(to_ns(dt.datetime(2025, 1, 6, 15, 15, tzinfo=dt.UTC)), 1, 1, 1, 1)
    hour = Interval.parse("1h")
    assert flaws(half_past, quarter_past, interval=hour) == [Flaw.NOT_ALIGNED, Flaw.NOT_ALIGNED]
    assert flaws(half_past, quarter_past, interval=hour, calendar=calendar_for("XNYS")) == [Flaw(0), Flaw.NOT_ALIGNED]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("close", True, "close must be a number, was True"),
        ("close", None, "close must be a number, was None"),
        ("high", "11", "high must be a number, was '11'"),
        ("volume", math.nan, "volume must be a finite number, was nan"),
        ("open_time", dt.datetime.fromisoformat("2025-01-01"), "open_time must be aware"),
        ("open_time", dt.date(2025, 1, 1), "open_time must be an aware datetime"),
        ("state", 9, "state must be one of FORMING, CLOSED, REVISED, was 9"),
    ],
)
def test_a_row_that_is_no_bar_is_rejected_with_its_reason_and_the_others_stay(
    field: str, value: object, message: str
) -> None:
    good = {
        "open_time": dt.datetime(2025, 1, 1, tzinfo=dt.UTC),
        "open": 1,
        "high": 2,
        "low": 0.5,
        "close": np.float64(1),
    }
    columns, rejected = read_rows([good, good | {field: value}, good])
    assert len(columns) == 2
    assert [row.row for row in rejected] == [1]
    assert message in rejected[0].reason


def test_things_that_are_no_rows_are_rejected() -> None:
    columns, rejected = read_rows([bar(), "bar", None])
    assert len(columns) == 1
    assert [row.reason for row in rejected] == [
        "row must be a Bar or a mapping, was str",
        "row must be a Bar or a mapping, was NoneType",
    ]


def test_thirty_two_years_of_recorded_daily_bars_pass_but_for_those_that_contradict_themselves() -> None:
    exchange = json.loads(gzip.decompress(recorded("eodhd/eod_BHP.AU.http.json.gz").read_bytes()))
    rows = json.loads(exchange["response"]["body"])
    columns, rejected = read_rows(
        {**row, "open_time": dt.datetime.fromisoformat(row["date"]).replace(tzinfo=dt.UTC)} for row in rows
    )
    check = check_bars(columns, interval=Interval.parse("1d"))
    assert not rejected
    assert len(columns) == 8_194
    contradictions = [
        number
        for number, row in enumerate(rows)
        if not row["low"] <= min(row["open"], row["close"]) <= max(row["open"], row["close"]) <= row["high"]
    ]
    assert np.flatnonzero(~check.good).tolist() == contradictions


def test_the_check_of_alignment_of_an_hour_accepts_the_clock() -> None:
    assert flaws(Bar(5 * NS_PER_HOUR, 1, 1, 1, 1), interval=Interval.parse("1h")) == [Flaw(0)]
