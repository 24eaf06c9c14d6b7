"""Rules of collection that an earlier system broke: each of them cost somebody bars, or asked vendors for nothing."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from datahub.collection.planner import NEW_SERIES_AT_ONCE, Planner
from datahub.collection.subscriptions import Subscriptions
from datahub.providers.entry import ProviderEntry
from quasar.calendars import calendar_for
from quasar.model.bars import BarColumns
from quasar.model.instants import from_ns
from quasar.model.intervals import Interval
from quasar.testing.clock import FakeClock
from tests.integration.datahub.registry_rows import entry
from tests.integration.datahub.sources import DONE, bars_of, part
from tests.integration.datahub.test_collection import NOW, START, House, house

__all__ = ["house"]

DAY = dt.timedelta(days=1)


def at(house: House, now: dt.datetime) -> None:
    """Let the house live at another time."""
    house.clock = FakeClock(now)
    house.writer._clock = house.clock
    house.planner = Planner(house.database, house.clock)
    house.subscriptions = Subscriptions(house.database, house.clock)


async def test_a_symbol_that_is_added_to_a_job_is_fetched_at_once_and_it_alone_with_its_exchange(house: House) -> None:
    await house.subscribe("A", exchange="XNYS")
    await house.plan()
    await house.work()
    house.source.requests.clear()
    await house.subscribe("B", exchange="XLON", interval="1min", cron="*/2 * * * *")
    assert await house.plan() == 1
    await house.work()
    assert [(request.symbol, request.exchange) for request in house.source.requests] == [("B", "XLON")]


async def test_an_interval_that_is_added_has_a_history_of_its_own(house: House) -> None:
    await house.subscribe("A")
    await house.plan()
    await house.work()
    await house.subscribe("A", interval="1h")
    assert await house.plan() == 1
    (_, run) = await house.work()
    assert (run["trigger"], run["inserted"]) == ("INITIAL", 2)


def preferring(days: int) -> dict[str, ProviderEntry]:
    """Return a provider whose history is wanted for so many days where nobody says since when."""
    return {"vendor": replace(entry(), preferences={"data": {"lookback_days": days}})}


async def test_the_history_of_a_series_begins_where_the_earliest_of_its_subscriptions_says(house: House) -> None:
    house.providers = preferring(1)
    await house.subscribe("A")
    await house.plan()
    await house.work()
    assert await house.bars() == 120
    await house.clock.advance(1)
    await house.subscribe("A", "B", start=None)
    assert await house.plan() == 2
    await house.work()
    assert (await house.bars(), await house.bars("B")) == (36 * 60, 24 * 60 - 1)
    await house.subscriptions.refresh(house.providers)
    assert await house.plan() == 0


async def test_a_start_that_is_taken_away_and_a_longer_preference_fetch_what_lies_before(house: House) -> None:
    house.providers = preferring(1)
    await house.subscribe("A")
    await house.plan()
    await house.work()
    assert await house.bars() == 120
    await house.database.execute("update registry.provider_subscription set backfill_start = null")
    await house.clock.advance(1)
    await house.subscriptions.refresh(house.providers)
    assert await house.plan() == 1
    await house.work()
    assert await house.bars() == 24 * 60 - 1
    house.providers = preferring(2)
    await house.clock.advance(1)
    await house.subscriptions.refresh(house.providers)
    assert await house.plan() == 1
    await house.work()
    assert await house.bars() == 2 * 24 * 60 - 1
    await house.clock.advance(1)
    assert await house.plan() == 0


async def test_a_series_that_was_live_only_gets_the_history_before_its_feed(house: House) -> None:
    house.providers = preferring(1)
    await house.subscribe("A", start=None)
    await house.database.execute("update registry.provider_subscription set live = true, historical = false")
    await house.subscriptions.refresh(house.providers)
    await house.database.execute(
        """insert into series_progress (series_id, classified_from, classified_until)
           select series_id, $1, $2 from series where symbol = 'A' and interval = '1min'""",
        START,
        NOW.replace(second=0),
    )
    assert await house.plan() == 0
    await house.database.execute("update registry.provider_subscription set historical = true")
    await house.subscriptions.refresh(house.providers)
    assert await house.plan() == 1
    await house.work()
    assert await house.bars() == 22 * 60 - 1
    await house.clock.advance(1)
    assert await house.plan() == 0


async def test_one_who_goes_by_the_interval_waits_for_nobody_elses_expression(house: House) -> None:
    await house.subscribe("A", "B")
    await house.subscribe("A", "C", cron="0 0 1 1 *")
    assert await crons(house) == {"A": "* * * * *", "B": "* * * * *", "C": "0 0 1 1 *"}
    await house.database.execute(
        "update registry.provider_subscription set state = 'PAUSED' where cron = '' and selection_names = '{A,B}'"
    )
    await house.subscriptions.refresh(house.providers)
    assert (await crons(house))["A"] == "0 0 1 1 *", "what is paused has no say"


async def crons(house: House) -> dict[str, str]:
    """Return by which expression each symbol is collected."""
    rows = await house.database.fetch(
        "select symbol, cron from subscribed_series join series using (series_id) join collection_jobs using (job_id)"
    )
    return {row["symbol"]: row["cron"] for row in rows}


async def test_a_hole_before_the_last_bar_is_asked_for_again(house: House) -> None:
    whole = [lambda request: [part(bars_of(request)[np.r_[0:40, 60:120]]), DONE], lambda r: [part(bars_of(r)), DONE]]
    house.source.scripts["A"] = whole
    await house.subscribe("A", cron="0 0 1 1 *")
    await house.plan()
    await house.work()
    assert await house.gaps() == [("OPEN", "INCOMPLETE_ANSWER", 20)]
    await house.clock.advance(61)
    await house.plan()
    await house.work()
    hole = house.source.requests[-1]
    assert (from_ns(hole.start_ns), from_ns(hole.end_ns)) == (
        START + dt.timedelta(minutes=40),
        START + dt.timedelta(minutes=60),
    )
    assert await house.bars() == 120


async def test_one_close_that_is_missing_costs_one_bar_of_nine_hundred(house: House) -> None:
    def bad(request: Any) -> list[Any]:
        bars = bars_of(request)
        close = bars.close.copy()
        close[450] = np.nan
        return [part(BarColumns(bars.open_time_ns, bars.open, bars.high, bars.low, close, bars.volume)), DONE]

    house.source.scripts["A"] = [bad]
    await house.subscribe("A", start=NOW.replace(second=0) - dt.timedelta(minutes=900), cron="0 0 1 1 *")
    await house.plan()
    (run,) = await house.work()
    assert (run["state"], run["inserted"], run["quarantined"]) == ("PARTIAL", 899, 1)


async def test_a_changed_delay_counts_from_the_next_look_on(house: House) -> None:
    await house.subscribe("A")
    await house.plan()
    await house.work()
    house.providers = {"vendor": entry(publication_delay=dt.timedelta(minutes=30))}
    await house.subscriptions.refresh(house.providers)
    await house.clock.advance(60)
    assert await house.plan() == 0
    await house.clock.advance(30 * 60)
    assert await house.plan() == 1
    assert (await house.work())[-1]["inserted"] == 1


@pytest.mark.parametrize(
    ("delay", "fires"),
    [(dt.timedelta(hours=6), 6), (dt.timedelta(hours=24), 0), (dt.timedelta(hours=30), 6)],
)
async def test_a_daily_job_fires_every_day_whatever_the_delay(house: House, delay: dt.timedelta, fires: int) -> None:
    at(house, dt.datetime(2026, 1, 5, 1, 0, tzinfo=dt.UTC))
    house.providers = {"vendor": entry(publication_delay=delay)}
    await house.subscribe("A", interval="1d", start=dt.datetime(2025, 12, 1, tzinfo=dt.UTC))
    await house.plan()
    await house.work()
    made = []
    for hour in range(1, 4 * 24):
        await house.clock.advance(3600)
        if await house.plan():
            made.append(house.clock.now().hour)
            runs = await house.work()
            assert runs[-1]["inserted"] == 1
        assert hour
    assert made == [fires] * len(made)
    assert len(made) in (3, 4)


async def test_nothing_is_asked_for_over_a_weekend(house: House) -> None:
    at(house, dt.datetime(2025, 12, 20, 1, 0, tzinfo=dt.UTC))
    await house.subscribe("A", interval="1d", exchange="XNYS", start=dt.datetime(2025, 12, 1, tzinfo=dt.UTC))
    await house.plan()
    assert (await house.work())[-1]["slots_total"] == 15
    for _ in range(2):
        await house.clock.advance(DAY.total_seconds())
        assert await house.plan() == 0
    await house.clock.advance(DAY.total_seconds())
    assert await house.plan() == 1


async def test_a_series_may_begin_long_before_the_calendars_of_the_package_do(house: House) -> None:
    at(house, dt.datetime(2026, 1, 5, 1, 0, tzinfo=dt.UTC))

    def traded(request: Any) -> list[Any]:
        days = calendar_for("XNYS").expected_slots(Interval.parse("1d"), request.start_ns, request.end_ns)
        price = np.full(len(days), 100.0)
        return [part(BarColumns(days, price, price + 1, price - 1, price, price)), DONE]

    house.source.scripts["A"] = [traded]
    await house.subscribe("A", interval="1d", exchange="XNYS", start=dt.datetime(2001, 1, 1, tzinfo=dt.UTC))
    await house.plan()
    (run,) = await house.work()
    assert (run["state"], run["slots_gap"]) == ("SUCCEEDED", 0)
    # The week after 11 September 2001 had no session.
    first = await house.database.fetchval("select min(open_time) from historical_data where open_time > '2001-09-11'")
    assert first == dt.datetime(2001, 9, 17, tzinfo=dt.UTC)


async def test_gaps_that_lie_near_each_other_are_asked_for_with_one_request(house: House) -> None:
    holes = np.r_[0:20, 30:50, 60:80, 90:120]
    first: Any = lambda request: [part(bars_of(request)[holes]), DONE]  # noqa: E731
    house.source.scripts["A"] = [first, lambda request: [part(bars_of(request)), DONE]]
    await house.subscribe("A", cron="0 0 1 1 *")
    await house.plan()
    await house.work()
    assert len(await house.gaps()) == 3
    await house.clock.advance(61)
    assert await house.plan() == 1
    run = (await house.work())[-1]
    assert (run["state"], run["inserted"], run["unchanged"]) == ("SUCCEEDED", 30, 40)
    assert {state for state, _, _ in await house.gaps()} == {"REPAIRED"}
    assert await house.database.fetchval("select sum(slots) from coverage where state = 6") == 30


async def test_gaps_that_lie_far_apart_have_runs_of_their_own(house: House) -> None:
    far = 10_000
    first: Any = lambda request: [part(bars_of(request)[np.r_[0:20, 30:far, far + 5 : far + 60]]), DONE]  # noqa: E731
    house.source.scripts["A"] = [first, lambda request: [part(bars_of(request)), DONE]]
    start = NOW.replace(second=0) - dt.timedelta(minutes=far + 60)
    await house.subscribe("A", cron="0 0 1 1 *", start=start)
    await house.plan()
    await house.work()
    await house.clock.advance(61)
    assert await house.plan() == 2
    assert [run["inserted"] for run in (await house.work())[1:]] == [10, 5]


async def test_a_gap_whose_run_was_cancelled_is_asked_for_again(house: House) -> None:
    half: Any = lambda request: [part(bars_of(request)[:60]), DONE]  # noqa: E731
    house.source.scripts["A"] = [half, lambda request: [part(bars_of(request)), DONE]]
    await house.subscribe("A", cron="0 0 1 1 *")
    await house.plan()
    await house.work()
    await house.clock.advance(61)
    await house.plan()
    await house.database.execute(
        "update collection_runs set state = 'CANCELLED', finished_at = now() where kind = 'REPAIR'"
    )
    await house.clock.advance(61)
    await house.plan()
    await house.work()
    assert [state for state, _, _ in await house.gaps()] == ["REPAIRED"]


async def test_series_that_have_nothing_to_fetch_do_not_stand_in_the_way(house: House) -> None:
    names = [f"S{number:04}" for number in range(NEW_SERIES_AT_ONCE + 5)]
    for first in range(0, len(names), 40):
        await house.subscribe(*names[first : first + 40], interval="1d", start=NOW + DAY)
    await house.subscribe("ZLAST")
    assert await house.plan() == 0
    assert await house.plan() == 1
