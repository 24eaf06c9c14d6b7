from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from quasar.errors import FailedPrecondition, InvalidArgument
from registry.code.declarations import Declaration
from registry.subscriptions.plans import Plan, ProviderFacts, Wish, plan
from registry.subscriptions.selections import Selection, SelectionKind

NOW = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


def facts(**manifest: Any) -> ProviderFacts:
    document = {
        "name": "alpha",
        "capabilities": ["PROVIDER_CAPABILITY_HISTORICAL", "PROVIDER_CAPABILITY_LIVE"],
        "intervals": ["1min", "1d", "1w"],
        "streams_ticks": True,
        **manifest,
    }
    return ProviderFacts(
        code_id=1,
        name="alpha",
        active=True,
        declaration=Declaration.of(document),
        preferences={"scheduling.delay_hours": 1},
        has_assets=False,
    )


def planned(provider: ProviderFacts | None = None, **fields: Any) -> Plan:
    wish = Wish(
        **{"provider": "alpha", "selection": Selection(SelectionKind.SYMBOL, ("A",)), "interval": "1d", **fields}
    )
    return plan(wish, provider or facts(), NOW, lambda _text: None)


def test_history_is_taken_where_nothing_is_asked_for_and_the_provider_has_it() -> None:
    live_only = facts(capabilities=["PROVIDER_CAPABILITY_LIVE"])

    assert (planned().wish.historical, planned().wish.live) == (True, False)
    assert (planned(live_only).wish.historical, planned(live_only).wish.live) == (False, True)


def test_ticks_need_a_live_feed_of_ticks() -> None:
    assert planned(interval="").wish.live
    with pytest.raises(FailedPrecondition, match="streams no ticks"):
        planned(facts(streams_ticks=False), interval="", live=True)


def test_kinds_of_ticks_must_be_among_those_that_the_provider_streams() -> None:
    quoting = facts(tick_kinds=["trade", "book_top"])
    assert planned(quoting, live=True, tick_kinds=("BOOK_TOP",)).wish.tick_kinds == ("BOOK_TOP",)
    with pytest.raises(FailedPrecondition, match="'alpha' streams no quotes; it streams trades and tops of the order"):
        planned(quoting, live=True, tick_kinds=("TRADE", "QUOTE"))
    with pytest.raises(FailedPrecondition, match="streams no tops of the order book; it streams trades"):
        planned(live=True, tick_kinds=("BOOK_TOP",))
    with pytest.raises(InvalidArgument, match="must come with live"):
        planned(quoting, historical=True, tick_kinds=("TRADE",))


def test_a_live_feed_of_ticks_makes_bars_of_any_interval_and_history_does_not() -> None:
    assert planned(interval="7min", live=True).wish.interval == "7min"
    assert planned(interval="500tick", live=True).wish.interval == "500tick"
    with pytest.raises(InvalidArgument, match="must be one that 'alpha' offers"):
        planned(interval="7min", live=True, historical=True)


def test_weekdays_are_meant_as_people_mean_them_and_the_providers_delay_is_added() -> None:
    monday = planned(facts(publication_delay="1800s"), cron="0 0 * * 1").schedule
    weekly = planned(interval="1w").schedule

    assert monday is not None
    assert weekly is not None
    assert monday.next_fire(NOW) == dt.datetime(2026, 1, 5, 1, 30, tzinfo=dt.UTC)
    assert weekly.next_fire(NOW) == dt.datetime(2026, 1, 5, 1, 0, tzinfo=dt.UTC)


def test_a_cron_expression_is_meant_in_its_time_zone() -> None:
    schedule = planned(cron="0 16 * * 1-5", time_zone="America/New_York").schedule

    assert schedule is not None
    assert schedule.next_fire(NOW) == dt.datetime(2026, 1, 1, 22, 0, tzinfo=dt.UTC)


def test_what_is_live_only_has_no_schedule() -> None:
    assert planned(live=True).schedule is None


def test_a_start_in_the_future_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="backfill_start must not be in the future"):
        planned(backfill_start=NOW + dt.timedelta(seconds=1))
