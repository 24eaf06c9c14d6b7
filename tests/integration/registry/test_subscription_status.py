"""How subscriptions are doing, watching them, and what one would collect."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from google.protobuf import duration_pb2, json_format, struct_pb2

from quasar_proto.common.v1 import code_pb2, values_pb2
from quasar_proto.datahub.v1 import collection_pb2, feed_pb2
from quasar_proto.registry.v1 import code_service_pb2, subscription_pb2
from quasar_proto.registry.v1 import subscription_service_pb2 as pb
from tests.integration.registry.stage import Stage, failure_of, provide

New = subscription_pb2.NewSubscription
Selector = subscription_pb2.Selector
health = subscription_pb2.SubscriptionHealth


def new(symbol: str = "A", **fields: Any) -> subscription_pb2.NewSubscription:
    """Return a wish for daily bars of a symbol of alpha."""
    return New(**{"provider": "alpha", "interval": "1d", "selector": Selector(symbol=symbol), **fields})


def symbols(*names: str) -> Selector:
    """Return a selection of symbols."""
    return Selector(symbols=subscription_pb2.SymbolList(symbols=names))


async def create(stage: Stage, symbol: str = "A", **fields: Any) -> str:
    """Create a subscription and return its id."""
    request = pb.CreateSubscriptionRequest(subscription=new(symbol, **fields))
    return str((await stage.subscriptions.CreateSubscription(request)).subscription.subscription_id)


async def status(stage: Stage, subscription_id: str) -> subscription_pb2.SubscriptionStatus:
    """Return how a subscription is doing."""
    request = pb.GetSubscriptionRequest(subscription_id=subscription_id)
    found: subscription_pb2.SubscriptionStatus = (
        await stage.subscriptions.GetSubscription(request)
    ).subscription.status
    return found


def state_of(symbol: str, **fields: Any) -> collection_pb2.SubscriptionState:
    """Return what the DataHub knows of daily bars of a symbol."""
    key = values_pb2.SeriesKey(provider="alpha", symbol=symbol, interval="1d")
    return collection_pb2.SubscriptionState(key=key, **fields)


async def test_the_status_is_the_worst_over_the_series_and_adds_their_figures(stage: Stage) -> None:
    await provide(stage, symbols=("A", "B", "C"))
    older, newer = dt.datetime(2024, 1, 1, tzinfo=dt.UTC), dt.datetime(2024, 2, 1, tzinfo=dt.UTC)
    stage.datahub.states = {
        ("alpha", "A", "1d"): state_of(
            "A",
            health=collection_pb2.SUBSCRIPTION_HEALTH_CURRENT,
            rows=10,
            last_row_time=newer,
            open_gaps=2,
            missing_slots=7,
        ),
        ("alpha", "B", "1d"): state_of(
            "B",
            health=collection_pb2.SUBSCRIPTION_HEALTH_CURRENT,
            rows=5,
            last_row_time=older,
            next_due_time=newer,
            feed_state=feed_pb2.FEED_STATE_QUIET,
            last_receive_time=newer,
        ),
    }
    one = await create(stage, selector=symbols("A", "B"), historical=True, live=True)

    found = await status(stage, one)

    assert found.health == health.SUBSCRIPTION_HEALTH_GAPS
    assert (found.series_count, found.bar_count, found.gap_count, found.missing_bars) == (2, 15, 2, 7)
    assert found.feed_state == feed_pb2.FEED_STATE_QUIET
    assert found.last_tick_time.ToDatetime(tzinfo=dt.UTC) == newer
    assert [(one.health, one.count) for one in found.healths] == [
        (health.SUBSCRIPTION_HEALTH_CURRENT, 1),
        (health.SUBSCRIPTION_HEALTH_GAPS, 1),
    ]
    assert found.last_bar_time.ToDatetime(tzinfo=dt.UTC) == newer
    assert found.oldest_last_bar_time.ToDatetime(tzinfo=dt.UTC) == older
    assert found.next_run_time.ToDatetime(tzinfo=dt.UTC) == newer


async def test_the_status_of_each_series_is_as_full_as_that_of_a_subscription(stage: Stage) -> None:
    await provide(stage, symbols=("A",))
    seen = dt.datetime(2024, 2, 1, tzinfo=dt.UTC)
    current = collection_pb2.SUBSCRIPTION_HEALTH_CURRENT
    stage.datahub.states = {
        ("alpha", "A", "1d"): state_of("A", health=current, open_gaps=1, missing_slots=3, last_receive_time=seen)
    }
    await create(stage, live=True)

    answer = await stage.subscriptions.ListSubscribedSeries(pb.ListSubscribedSeriesRequest(with_status=True))

    (found,) = [one.status for one in answer.series]
    assert [(one.health, one.count) for one in found.healths] == [(health.SUBSCRIPTION_HEALTH_GAPS, 1)]
    assert (found.gap_count, found.missing_bars) == (1, 3)
    assert found.last_tick_time.ToDatetime(tzinfo=dt.UTC) == seen
    assert found.HasField("read_time")


async def test_a_new_subscription_is_pending_and_one_with_an_unknown_symbol_unresolved(stage: Stage) -> None:
    await provide(stage, symbols=("A",))
    fresh = await create(stage)
    partly = await create(stage, selector=symbols("A", "NOPE"), interval="1h")

    assert (await status(stage, fresh)).health == health.SUBSCRIPTION_HEALTH_PENDING
    found = await status(stage, partly)
    assert (found.health, found.unresolved_count) == (health.SUBSCRIPTION_HEALTH_UNRESOLVED, 1)
    assert found.detail


async def test_without_the_datahub_lists_answer_and_say_why_the_status_is_missing(stage: Stage) -> None:
    await provide(stage, symbols=("A",))
    one = await create(stage)
    await stage.stop_datahub()

    listed = await stage.subscriptions.ListSubscriptions(pb.ListSubscriptionsRequest())
    series = await stage.subscriptions.ListSubscribedSeries(pb.ListSubscribedSeriesRequest(with_status=True))

    assert [entry.subscription_id for entry in listed.subscriptions] == [one]
    assert not listed.subscriptions[0].HasField("status")
    assert listed.status_error == series.status_error == "the DataHub does not answer"
    assert len(series.series) == 1


async def test_a_list_without_status_does_not_ask_the_datahub(stage: Stage) -> None:
    await provide(stage, symbols=("A",))
    await create(stage)
    await stage.stop_datahub()

    listed = await stage.subscriptions.ListSubscriptions(pb.ListSubscriptionsRequest(without_status=True))

    assert (listed.status_error, len(listed.subscriptions)) == ("", 1)


@asynccontextmanager
async def watching(stage: Stage, **fields: Any) -> AsyncIterator[AsyncIterator[Any]]:
    """Watch subscriptions."""
    call = stage.subscriptions.WatchSubscriptions(pb.WatchSubscriptionsRequest(**fields))
    try:
        yield aiter(call)
    finally:
        call.cancel()


async def _rest(messages: AsyncIterator[Any]) -> None:
    """Read to the end."""
    async with asyncio.timeout(60):
        async for _ in messages:
            pass


async def changes(messages: AsyncIterator[Any]) -> Any:
    """Return the next message that is no heartbeat."""
    async with asyncio.timeout(60):
        while True:
            message = await anext(messages)
            if message.subscriptions or message.removed_ids:
                return message


async def test_a_watcher_sees_all_at_once_and_then_what_changes(stage: Stage) -> None:
    await provide(stage, symbols=("A", "B"))
    first = await create(stage)

    async with watching(stage) as messages:
        begin = await anext(messages)
        second = await create(stage, "B")
        came = await changes(messages)
        await stage.subscriptions.PauseSubscription(pb.PauseSubscriptionRequest(subscription_id=first))
        paused = await changes(messages)
        await stage.subscriptions.DeleteSubscription(pb.DeleteSubscriptionRequest(subscription_id=second))
        gone = await changes(messages)

    assert ([one.subscription_id for one in begin.subscriptions], begin.complete) == ([first], True)
    assert begin.subscriptions[0].HasField("status")
    assert [one.subscription_id for one in came.subscriptions] == [second]
    assert [(one.subscription_id, one.state) for one in paused.subscriptions] == [
        (first, subscription_pb2.SUBSCRIPTION_STATE_PAUSED)
    ]
    assert list(gone.removed_ids) == [second]


async def test_a_watcher_of_a_filter_is_told_when_one_no_longer_passes_it(stage: Stage) -> None:
    await provide(stage, symbols=("A",))
    one = await create(stage)

    async with watching(stage, filter='state = "ACTIVE"') as messages:
        await anext(messages)
        await stage.subscriptions.PauseSubscription(pb.PauseSubscriptionRequest(subscription_id=one))
        assert list((await changes(messages)).removed_ids) == [one]


async def test_a_watcher_is_told_when_the_status_changes(stage: Stage) -> None:
    await provide(stage, symbols=("A",))
    await create(stage)

    async with watching(stage) as messages:
        await anext(messages)
        stage.datahub.states[("alpha", "A", "1d")] = state_of(
            "A", health=collection_pb2.SUBSCRIPTION_HEALTH_CURRENT, rows=1
        )
        changed = await changes(messages)

    assert changed.subscriptions[0].status.health == health.SUBSCRIPTION_HEALTH_CURRENT


async def test_a_watcher_of_nothing_gets_an_empty_answer_and_heartbeats(stage: Stage) -> None:
    async with watching(stage, heartbeat_interval=duration_pb2.Duration(seconds=1)) as messages:
        begin, beat = await anext(messages), await anext(messages)

    assert (begin.complete, beat.complete) == (True, True)
    assert not begin.subscriptions


async def test_a_watcher_is_told_at_once_that_the_service_stops(stage: Stage) -> None:
    async with watching(stage) as messages:
        await anext(messages)
        await stage.drain()
        failure = await failure_of(_rest(messages))

    assert failure.reason == "DRAINING"


async def test_a_preview_tells_what_would_be_collected_and_stores_nothing(stage: Stage) -> None:
    await provide(stage, symbols=("A", "B"), rate_limits=[{"calls": 10, "window": "60s"}], default_calendar="24/7")
    await create(stage)
    start = dt.datetime.now(dt.UTC) - dt.timedelta(days=100, hours=1)

    request = pb.PreviewSubscriptionRequest(
        subscription=new(selector=symbols("A", "B", "NOPE"), cron="0 9 * * 1", backfill_start=start)
    )
    seen = (await stage.subscriptions.PreviewSubscription(request)).preview

    assert (seen.series_count, seen.new_series_count, seen.unresolved_count) == (2, 1, 1)
    assert [one.key.symbol for one in seen.series] == ["A", "B"]
    assert [one.unresolved_name for one in seen.unresolved] == ["NOPE"]
    times = [time.ToDatetime(tzinfo=dt.UTC) for time in seen.next_run_times]
    assert [(time.weekday(), time.hour) for time in times] == [(0, 9)] * 5
    assert seen.estimated_bars == 200
    assert seen.estimated_calls == 2
    assert seen.estimated_duration.ToTimedelta() == dt.timedelta(seconds=12)
    assert seen.subscription.subscription_id == ""
    listed = await stage.subscriptions.ListSubscriptions(pb.ListSubscriptionsRequest())
    assert len(listed.subscriptions) == 1


async def test_a_preview_names_the_subscription_that_exists_and_the_history_that_does_not(stage: Stage) -> None:
    await provide(stage, symbols=("A",), history_depths=[{"interval": "1d", "depth": "864000s"}])
    one = await create(stage)
    start = dt.datetime.now(dt.UTC) - dt.timedelta(days=100)

    request = pb.PreviewSubscriptionRequest(subscription=new(backfill_start=start))
    seen = (await stage.subscriptions.PreviewSubscription(request)).preview

    assert seen.existing_subscription_id == one
    assert seen.new_series_count == 0
    assert "has no older bars at 1d" in seen.warnings[0]


async def test_run_times_of_a_preview_include_the_providers_delay(stage: Stage) -> None:
    await provide(stage, symbols=("A",), publication_delay="1800s")
    await stage.code.UpdatePreferences(
        code_service_pb2.UpdatePreferencesRequest(
            ref=code_pb2.CodeRef(kind=values_pb2.CODE_KIND_PROVIDER, name="alpha"),
            preferences=json_format.ParseDict({"scheduling": {"delay_hours": 6}}, struct_pb2.Struct()),
        )
    )

    request = pb.PreviewSubscriptionRequest(subscription=new())
    seen = (await stage.subscriptions.PreviewSubscription(request)).preview

    times = [time.ToDatetime(tzinfo=dt.UTC) for time in seen.next_run_times]
    assert {(time.hour, time.minute) for time in times} == {(6, 30)}


async def test_a_preview_of_an_unknown_symbol_is_refused_as_its_creation_would_be(stage: Stage) -> None:
    await provide(stage, symbols=("A",))

    failure = await failure_of(
        stage.subscriptions.PreviewSubscription(pb.PreviewSubscriptionRequest(subscription=new("NOPE")))
    )

    assert failure.reason == "NOT_FOUND"
