from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import replace
from typing import Any

import pytest

from quasar_proto.datahub.v1 import feed_pb2
from registry.subscriptions.plans import Wish
from registry.subscriptions.selections import Selection, SelectionKind
from registry.subscriptions.statuses import Health, SeriesState, combined
from registry.subscriptions.subscriptions import State, Subscription

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
LIVE, RECONNECTING = feed_pb2.FEED_STATE_LIVE, feed_pb2.FEED_STATE_RECONNECTING
SESSION_CLOSED = feed_pb2.FEED_STATE_SESSION_CLOSED
EARLIER = NOW - dt.timedelta(days=1)


def subscription(**fields: Any) -> Subscription:
    given = {
        "subscription_id": uuid.UUID(int=1),
        "code_id": 1,
        "wish": Wish(provider="alpha", selection=Selection(SelectionKind.SYMBOL, ("A",)), interval="1d"),
        "state": State.ACTIVE,
        "pause_reason": "",
        "provider_active": True,
        "series_count": 2,
        "unresolved_count": 0,
        "create_time": NOW,
        "update_time": NOW,
        "created_by": None,
        "revision": 1,
        **fields,
    }
    return Subscription(**given)


@pytest.mark.parametrize(
    ("fields", "healths", "worst"),
    [
        ({}, [Health.CURRENT, Health.CURRENT], Health.CURRENT),
        ({}, [Health.CURRENT, Health.FAILING], Health.FAILING),
        ({}, [Health.BACKFILLING, Health.PENDING], Health.BACKFILLING),
        ({"unresolved_count": 1}, [Health.CURRENT], Health.UNRESOLVED),
        ({"unresolved_count": 1}, [Health.FAILING], Health.FAILING),
        ({}, [], Health.UNRESOLVED),
        ({"state": State.PAUSED}, [Health.FAILING], Health.PAUSED),
        ({"provider_active": False}, [Health.CURRENT], Health.PROVIDER_DOWN),
        ({"provider_active": False, "state": State.PAUSED}, [Health.CURRENT], Health.PAUSED),
    ],
)
def test_the_worst_counts_unless_nothing_is_wanted(
    fields: dict[str, Any], healths: list[Health], worst: Health
) -> None:
    assert combined(subscription(**fields), [SeriesState(health=one) for one in healths], NOW).health is worst


def test_the_series_that_is_furthest_behind_is_not_known_while_one_has_no_bar() -> None:
    some = [SeriesState(health=Health.CURRENT, last_bar_time=NOW), SeriesState(health=Health.PENDING)]
    all_ = [SeriesState(health=Health.CURRENT, last_bar_time=time) for time in (NOW, EARLIER)]

    assert combined(subscription(), some, NOW).oldest_last_bar_time is None
    assert combined(subscription(), some, NOW).last_bar_time == NOW
    assert combined(subscription(), all_, NOW).oldest_last_bar_time == EARLIER


def test_the_newest_failure_is_the_one_that_is_told() -> None:
    states = [
        SeriesState(health=Health.FAILING, last_error="old", last_run_time=EARLIER),
        SeriesState(health=Health.FAILING, last_error="new", last_run_time=NOW, detail="the vendor refuses"),
    ]

    found = combined(subscription(), states, NOW)

    assert (found.last_error, found.detail) == ("new", "the vendor refuses")


def test_the_worst_feed_is_told_and_a_closed_market_is_none_of_the_bad_ones() -> None:
    wish = replace(subscription().wish, live=True)
    states = [SeriesState(health=Health.CURRENT, feed_state=feed) for feed in (LIVE, SESSION_CLOSED, RECONNECTING)]
    closed = [SeriesState(health=Health.CURRENT, feed_state=feed) for feed in (0, LIVE, SESSION_CLOSED)]

    assert combined(subscription(wish=wish), states, NOW).feed_state == RECONNECTING
    assert combined(subscription(wish=wish), closed, NOW).feed_state == SESSION_CLOSED


def test_a_feed_that_another_subscription_holds_says_nothing_of_one_without() -> None:
    states = [SeriesState(health=Health.CURRENT, feed_state=LIVE, last_tick_time=NOW)]

    found = combined(subscription(), states, NOW)

    assert (found.feed_state, found.last_tick_time) == (0, None)


def test_every_state_of_a_feed_has_its_place() -> None:
    wish = replace(subscription().wish, live=True)

    for number in feed_pb2.FeedState.values():
        state = SeriesState(health=Health.CURRENT, feed_state=number)
        assert combined(subscription(wish=wish), [state], NOW).feed_state == number
