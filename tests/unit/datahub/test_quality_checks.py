"""What the checks take for suspicious, and what they leave alone."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Any

import numpy as np
import pytest

from datahub.quality import checks
from datahub.quality.findings import Check
from datahub.quality.sample import Sample, session_dates
from quasar.calendars import calendar_for
from quasar.model.instants import NS_PER_DAY, to_ns
from quasar.model.intervals import Interval

MINUTE = Interval.parse("1min")
DAY = Interval.parse("1d")
START = to_ns(dt.datetime(2026, 1, 5, tzinfo=dt.UTC))


def walk(rows: int = 400, *, interval: Interval = MINUTE, seed: int = 7, step: float = 0.0004) -> Sample:
    """A market that does nothing unusual: a random walk with volume, each bar opening where the last closed."""
    random = np.random.default_rng(seed)
    closes = 100 * np.exp(np.cumsum(random.normal(0, step, rows)))
    opens = np.concatenate([[100.0], closes[:-1]])
    times = START + np.arange(rows, dtype=np.int64) * interval.length_ns
    nothing = np.full(rows, np.nan)
    return Sample(
        open_time_ns=times,
        close_time_ns=times + interval.length_ns,
        date_ns=times - times % NS_PER_DAY,
        open=opens,
        high=np.maximum(opens, closes) * 1.0001,
        low=np.minimum(opens, closes) * 0.9999,
        close=closes,
        volume=random.uniform(1, 10, rows),
        split_factor=nothing.copy(),
        dividend=nothing.copy(),
        checked=np.ones(rows, dtype=np.bool_),
    )


def with_(sample: Sample, **columns: Any) -> Sample:
    """The sample with some columns changed at places: `close={5: 1.0}`."""
    changed = {}
    for name, places in columns.items():
        values = getattr(sample, name).copy()
        for place, value in places.items():
            values[place] = value
        changed[name] = values
    return dataclasses.replace(sample, **changed)


def every_check(sample: Sample, interval: Interval = MINUTE) -> list[Check]:
    found = [
        *checks.zero_volume(sample),
        *checks.spikes(sample),
        *checks.stale(sample, interval),
        *checks.unexplained_jumps(sample),
    ]
    return [each.check for each in found]


@pytest.mark.parametrize("seed", range(8))
def test_an_ordinary_market_gives_no_finding(seed: int) -> None:
    assert every_check(walk(3_000, seed=seed)) == []
    assert every_check(walk(1_500, interval=DAY, seed=seed, step=0.015), DAY) == []


def test_a_bad_print_that_turns_back_is_one_spike() -> None:
    clean = walk()
    (found,) = checks.spikes(with_(clean, close={200: clean.close[199] * 1.05}))
    assert (found.check, found.start_ns) == (Check.SPIKE, int(clean.open_time_ns[200]))
    assert found.observed == pytest.approx(np.log(1.05))
    assert found.limit is not None
    assert found.observed is not None
    assert found.limit < found.observed


def test_a_move_that_stays_is_no_spike() -> None:
    clean = walk()
    moved = dataclasses.replace(clean, close=np.where(np.arange(400) >= 200, clean.close * 1.05, clean.close))
    assert checks.spikes(moved) == []


def test_many_spikes_do_not_make_spikes_usual() -> None:
    clean = walk(600)
    places = range(150, 600, 10)
    spiked = with_(clean, close={place: clean.close[place - 1] * 1.05 for place in places})
    assert len(checks.spikes(spiked)) == len(list(places))


def test_a_spike_in_what_is_not_checked_is_left_to_its_own_check() -> None:
    clean = walk()
    spiked = with_(clean, close={200: clean.close[199] * 1.05})
    assert checks.spikes(dataclasses.replace(spiked, checked=np.arange(400) > 250)) == []


def test_no_volume_is_suspicious_where_the_price_moved_or_the_series_trades() -> None:
    clean = walk()
    (found,) = checks.zero_volume(with_(clean, volume={200: 0.0, 201: 0.0}))
    assert (found.bars, found.end_ns - found.start_ns) == (2, 2 * MINUTE.length_ns)


def test_no_volume_in_a_market_that_hardly_trades_is_no_finding() -> None:
    clean = walk()
    quiet = np.arange(400) % 10 != 0
    flat = dataclasses.replace(
        clean,
        volume=np.where(quiet, 0.0, 5.0),
        **{name: np.full(400, 100.0) for name in ("open", "high", "low", "close")},
    )
    assert checks.zero_volume(flat) == []


def test_a_source_without_volumes_has_no_zero_volumes() -> None:
    assert checks.zero_volume(dataclasses.replace(walk(), volume=np.full(400, np.nan))) == []


def test_prices_that_stand_still_are_stale() -> None:
    clean = walk()
    frozen = dict.fromkeys(range(100, 130), 101.0)
    (found,) = checks.stale(with_(clean, open=frozen, high=frozen, low=frozen, close=frozen), MINUTE)
    assert (found.bars, found.observed, found.limit) == (30, 30.0, 10.0)


def test_a_market_that_often_stands_still_is_not_stale_for_standing_still() -> None:
    clean = walk(1_200)
    levels = np.repeat(np.linspace(100, 101, 100), 12)
    steps = dataclasses.replace(clean, open=levels, high=levels, low=levels, close=levels)
    assert checks.stale(steps, MINUTE) == []


def test_a_split_that_nobody_told_of_is_a_jump_and_one_that_was_told_is_none() -> None:
    clean = walk(300, interval=DAY, step=0.01)
    later = np.arange(300) >= 150
    split = {
        name: np.where(later, getattr(clean, name) / 4, getattr(clean, name))
        for name in ("open", "high", "low", "close")
    }
    halved = dataclasses.replace(clean, **split)
    (found,) = checks.unexplained_jumps(halved)
    assert (found.check, found.start_ns) == (Check.UNEXPLAINED_JUMP, int(clean.open_time_ns[150]))
    assert checks.unexplained_jumps(with_(halved, split_factor={150: 4.0})) == []


def test_closes_that_differ_between_providers_are_one_finding_a_stretch() -> None:
    clean = walk()
    theirs = clean.close * 1.0005
    theirs[50:55] *= 1.02
    (found,) = checks.disagreement(clean, clean.open_time_ns, theirs, 9, "other:X@1min")
    assert (found.bars, found.other_series_id) == (5, 9)
    assert found.observed == pytest.approx(-np.log(1.0005 * 1.02))


def test_another_instrument_under_the_same_name_disagrees_throughout() -> None:
    clean = walk()
    found = checks.disagreement(clean, clean.open_time_ns, clean.close * 1.5, 9, "other:X@1min")
    assert sum(each.bars for each in found) == 400


def test_only_common_times_are_compared() -> None:
    clean = walk()
    assert checks.disagreement(clean, clean.open_time_ns[::7], clean.close[::7], 9, "x") == []
    assert checks.disagreement(clean, clean.open_time_ns + 1_000, clean.close * 2, 9, "x") == []


def test_a_pushed_bar_that_differs_from_its_ticks_is_found() -> None:
    clean = walk()
    built = with_(clean, high={10: clean.high[10] * 1.001})
    (found,) = checks.tick_disagreement(clean, built)
    assert found.start_ns == int(clean.open_time_ns[10])
    assert checks.tick_disagreement(clean, clean) == []


def test_missing_slots_in_a_row_are_one_finding_a_session() -> None:
    calendar = calendar_for("XNYS")
    slots = calendar.expected_slots(
        MINUTE, dt.datetime(2026, 1, 5, tzinfo=dt.UTC), dt.datetime(2026, 1, 7, tzinfo=dt.UTC)
    )
    places = np.array([10, 11, 20, 388, 389, 390, 391])
    dates = session_dates(calendar, MINUTE, slots[places])
    found = checks.missing(slots[places], dates, MINUTE, places)
    assert [each.bars for each in found] == [2, 1, 2, 2]
    assert [dt.datetime.fromtimestamp(each.date_ns / 1e9, dt.UTC).day for each in found] == [5, 5, 5, 6]


def test_a_slot_that_begins_before_the_open_belongs_to_the_session() -> None:
    hour = Interval.parse("1h")
    calendar = calendar_for("CMES")
    slots = calendar.expected_slots(
        hour, dt.datetime(2026, 1, 5, tzinfo=dt.UTC), dt.datetime(2026, 1, 7, tzinfo=dt.UTC)
    )
    sessions = calendar.sessions(int(slots[0]), int(slots[-1]) + hour.length_ns)
    assert set(session_dates(calendar, hour, slots).tolist()) <= set(sessions.date_ns.tolist())
