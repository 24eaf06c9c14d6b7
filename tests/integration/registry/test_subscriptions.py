"""Creating, reading and changing subscriptions."""

from __future__ import annotations

import datetime as dt
from typing import Any

import grpc
import pytest
from google.protobuf import field_mask_pb2

from quasar_proto.datahub.v1 import market_data_pb2
from quasar_proto.registry.v1 import subscription_pb2
from quasar_proto.registry.v1 import subscription_service_pb2 as pb
from tests.integration.registry.stage import Stage, failure_of, provide

New = subscription_pb2.NewSubscription
Selector = subscription_pb2.Selector
PAUSED = subscription_pb2.SUBSCRIPTION_STATE_PAUSED
ACTIVE = subscription_pb2.SUBSCRIPTION_STATE_ACTIVE


def new(symbol: str = "A", **fields: Any) -> subscription_pb2.NewSubscription:
    """Return a wish for daily bars of a symbol of alpha."""
    given = {"provider": "alpha", "interval": "1d", "selector": Selector(symbol=symbol), **fields}
    return New(**given)


def mask(*paths: str) -> field_mask_pb2.FieldMask:
    """Return a mask."""
    return field_mask_pb2.FieldMask(paths=paths)


async def create(stage: Stage, symbol: str = "A", **fields: Any) -> subscription_pb2.Subscription:
    """Create a subscription."""
    request = pb.CreateSubscriptionRequest(subscription=new(symbol, **fields))
    made: subscription_pb2.Subscription = (await stage.subscriptions.CreateSubscription(request)).subscription
    return made


async def refused(stage: Stage, symbol: str = "A", **fields: Any) -> Any:
    """Return what a client sees of a subscription that cannot be created."""
    request = pb.CreateSubscriptionRequest(subscription=new(symbol, **fields))
    return await failure_of(stage.subscriptions.CreateSubscription(request))


async def listed(stage: Stage, **fields: Any) -> list[str]:
    """Return what the listed subscriptions name."""
    answer = await stage.subscriptions.ListSubscriptions(pb.ListSubscriptionsRequest(page_size=1000, **fields))
    return [one.selector.symbol for one in answer.subscriptions]


async def test_a_subscription_is_stored_as_asked_for(stage: Stage) -> None:
    await provide(stage)
    start = dt.datetime(2024, 1, 2, tzinfo=dt.UTC)

    made = await create(
        stage,
        "BTC/USD",
        interval="5m",
        historical=True,
        live=True,
        store_ticks=True,
        cron="0 9 * * 1",
        time_zone="Europe/Berlin",
        backfill_start=start,
        note="mine",
        paused=True,
    )
    found = (
        await stage.subscriptions.GetSubscription(pb.GetSubscriptionRequest(subscription_id=made.subscription_id))
    ).subscription

    assert (found.interval, found.cron, found.time_zone, found.note) == ("5min", "0 9 * * 1", "Europe/Berlin", "mine")
    assert (found.historical, found.live, found.store_ticks, found.state) == (True, True, True, PAUSED)
    assert found.backfill_start.ToDatetime(tzinfo=dt.UTC) == start
    assert found.etag == made.etag
    event = await stage.last_event("SubscriptionCreated")
    assert (event["subject_name"], event["actor"]) == (made.subscription_id, "operator")
    assert event["data"]["after"]["selector"] == {"symbol": "BTC/USD"}


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"interval": "7min"}, "INVALID_ARGUMENT", "subscription.interval"),
        ({"interval": "fortnight"}, "INVALID_ARGUMENT", "subscription.interval"),
        ({"interval": "1M"}, "INVALID_ARGUMENT", "subscription.interval"),
        ({"interval": "", "historical": True}, "INVALID_ARGUMENT", "subscription.interval"),
        ({"cron": "every day"}, "INVALID_ARGUMENT", "subscription.cron"),
        ({"cron": "0 0 31 2 *"}, "INVALID_ARGUMENT", "subscription.cron"),
        ({"cron": "0 0 * * 8"}, "INVALID_ARGUMENT", "subscription.cron"),
        ({"time_zone": "Mars/Olympus"}, "INVALID_ARGUMENT", "subscription.time_zone"),
        ({"store_ticks": True}, "INVALID_ARGUMENT", "subscription.store_ticks"),
        ({"backfill_start": dt.datetime(2100, 1, 1, tzinfo=dt.UTC)}, "INVALID_ARGUMENT", "subscription.backfill_start"),
        ({"provider": "nobody"}, "NOT_FOUND", "subscription.provider"),
        ({"selector": Selector()}, "INVALID_ARGUMENT", "subscription.selector.selection"),
        ({"selector": Selector(symbol="x" * 201)}, "INVALID_ARGUMENT", "subscription.selector.symbol"),
    ],
    ids=str,
)
async def test_a_wish_that_cannot_be_taken_is_refused_by_field(
    stage: Stage, fields: dict[str, Any], reason: str, field: str
) -> None:
    await provide(stage)

    failure = await refused(stage, **fields)

    assert failure.reason == reason
    assert list(failure.violations) == [field]
    assert await listed(stage) == []


async def test_an_interval_that_is_not_offered_is_answered_with_those_that_are(stage: Stage) -> None:
    await provide(stage)

    failure = await refused(stage, interval="1w", historical=True)

    assert failure.violations["subscription.interval"] == (
        "must be one that 'alpha' offers (1min, 5min, 1h, 1d), was '1w'"
    )


async def test_minutes_and_months_are_not_mixed_up(stage: Stage) -> None:
    await provide(stage, intervals=["1min", "1M"])

    assert (await create(stage, "A", interval="1m")).interval == "1min"
    assert (await create(stage, "B", interval="1M")).interval == "1M"


@pytest.mark.parametrize(
    ("capabilities", "fields"),
    [
        (["PROVIDER_CAPABILITY_LIVE"], {"historical": True}),
        (["PROVIDER_CAPABILITY_HISTORICAL"], {"live": True}),
        (["PROVIDER_CAPABILITY_INDEX"], {}),
    ],
)
async def test_what_the_provider_cannot_do_is_refused(
    stage: Stage, capabilities: list[str], fields: dict[str, Any]
) -> None:
    await provide(stage, capabilities=capabilities)

    failure = await refused(stage, **fields)

    assert failure.reason == "FAILED_PRECONDITION"
    assert "alpha" in failure.message


async def test_ticks_are_subscribed_without_an_interval(stage: Stage) -> None:
    await provide(stage)

    made = await create(stage, interval="", live=True, store_ticks=True)

    assert (made.interval, made.live, made.store_ticks) == ("", True, True)


async def test_kinds_of_ticks_are_stored_found_changed_and_joined_over_the_subscriptions_of_a_series(
    stage: Stage,
) -> None:
    await provide(stage, tick_kinds=["trade", "quote", "book_top"])
    kinds = market_data_pb2.TickKind
    tops = await create(stage, "B", interval="", live=True, tick_kinds=[kinds.TICK_KIND_BOOK_TOP])
    plain = await create(stage, "C", interval="", live=True)
    assert (list(tops.tick_kinds), list(plain.tick_kinds)) == ([kinds.TICK_KIND_BOOK_TOP], [])
    assert await listed(stage, filter="tick_kinds = BOOK_TOP") == ["B"]

    await create(stage, "B", interval="1min", live=True)
    answer = await stage.subscriptions.ListSubscribedSeries(pb.ListSubscribedSeriesRequest())
    found = {(one.key.symbol, one.key.interval): list(one.tick_kinds) for one in answer.series}
    assert found == {
        ("B", ""): [kinds.TICK_KIND_BOOK_TOP],
        ("B", "1min"): [kinds.TICK_KIND_TRADE],
        ("C", ""): [kinds.TICK_KIND_TRADE],
    }

    values = subscription_pb2.Subscription(
        subscription_id=tops.subscription_id, tick_kinds=[kinds.TICK_KIND_QUOTE, kinds.TICK_KIND_TRADE]
    )
    request = pb.UpdateSubscriptionRequest(subscription=values, update_mask=mask("tick_kinds"))
    changed = (await stage.subscriptions.UpdateSubscription(request)).subscription
    assert list(changed.tick_kinds) == [kinds.TICK_KIND_TRADE, kinds.TICK_KIND_QUOTE]
    event = await stage.last_event("SubscriptionUpdated")
    assert event["data"]["before"]["tick_kinds"] == ["BOOK_TOP"]
    assert event["data"]["after"]["tick_kinds"] == ["TRADE", "QUOTE"]


async def test_kinds_of_ticks_that_the_provider_does_not_stream_are_refused(stage: Stage) -> None:
    await provide(stage)
    found = await refused(stage, interval="", live=True, tick_kinds=[market_data_pb2.TickKind.TICK_KIND_QUOTE])
    assert found.reason == "FAILED_PRECONDITION"
    assert "streams no quotes; it streams trades" in found.message


async def test_the_same_selection_exists_once(stage: Stage) -> None:
    await provide(stage)
    made = await create(stage)

    again = await refused(stage)
    as_list = await refused(stage, selector=Selector(symbols=subscription_pb2.SymbolList(symbols=["A"])))
    other = await create(stage, interval="1h")

    assert again.reason == as_list.reason == "ALREADY_EXISTS"
    assert made.subscription_id in again.message
    assert other.subscription_id != made.subscription_id


async def test_a_repeated_request_has_the_answer_of_the_first(stage: Stage) -> None:
    await provide(stage)
    request = pb.CreateSubscriptionRequest(subscription=new(), request_id="r-1")

    first = (await stage.subscriptions.CreateSubscription(request)).subscription
    again = (await stage.subscriptions.CreateSubscription(request)).subscription

    assert again.subscription_id == first.subscription_id
    other = pb.CreateSubscriptionRequest(subscription=new("B"), request_id="r-1")
    assert (await failure_of(stage.subscriptions.CreateSubscription(other))).reason == "ALREADY_EXISTS"


async def test_a_creation_can_be_tried_without_storing_it(stage: Stage) -> None:
    await provide(stage)
    request = pb.CreateSubscriptionRequest(subscription=new(interval="60min"), validate_only=True)

    tried = (await stage.subscriptions.CreateSubscription(request)).subscription

    assert (tried.subscription_id, tried.interval) == ("", "1h")
    assert await listed(stage) == []


async def test_subscriptions_are_filtered_ordered_and_paged(stage: Stage) -> None:
    await provide(stage)
    for number in range(7):
        await create(stage, f"S{number}", live=number % 2 == 0, historical=True, note=f"note {number}")

    assert await listed(stage) == [f"S{number}" for number in range(7)]
    assert await listed(stage, order_by="symbol desc") == [f"S{number}" for number in reversed(range(7))]
    assert await listed(stage, filter="live = true") == ["S0", "S2", "S4", "S6"]
    assert await listed(stage, filter='symbol = "S3"') == ["S3"]
    assert await listed(stage, filter='note:"TE 5" OR symbol = "S1"') == ["S1", "S5"]
    assert await listed(stage, filter='selection = "symbol" AND state = "ACTIVE" AND provider = "beta"') == []
    seen, token = [], ""
    while True:
        request = pb.ListSubscriptionsRequest(page_size=3, page_token=token, order_by="state, symbol desc")
        page = await stage.subscriptions.ListSubscriptions(request)
        seen += [one.selector.symbol for one in page.subscriptions]
        token = page.next_page_token
        if not token:
            break
    assert seen == [f"S{number}" for number in reversed(range(7))]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"filter": "health = 1"}, "INVALID_FILTER"),
        ({"filter": 'live = "perhaps"'}, "INVALID_FILTER"),
        ({"order_by": "health"}, "INVALID_FILTER"),
        ({"page_token": "////"}, "INVALID_CURSOR"),
    ],
)
async def test_a_list_that_cannot_be_understood_is_refused(stage: Stage, fields: dict[str, str], reason: str) -> None:
    call = stage.subscriptions.ListSubscriptions(pb.ListSubscriptionsRequest(**fields))  # type: ignore[arg-type]

    assert (await failure_of(call)).reason == reason


async def test_pausing_and_resuming_are_idempotent_and_recorded_once(stage: Stage) -> None:
    await provide(stage)
    one = (await create(stage)).subscription_id

    for _ in range(2):
        paused = await stage.subscriptions.PauseSubscription(
            pb.PauseSubscriptionRequest(subscription_id=one, reason="holiday")
        )
    for _ in range(2):
        resumed = await stage.subscriptions.ResumeSubscription(pb.ResumeSubscriptionRequest(subscription_id=one))

    assert (paused.subscription.state, paused.subscription.pause_reason) == (PAUSED, "holiday")
    assert (resumed.subscription.state, resumed.subscription.pause_reason) == (ACTIVE, "")
    kinds = await stage.kinds_of_events()
    assert kinds[-3:] == ["SubscriptionCreated", "SubscriptionPaused", "SubscriptionResumed"]


async def test_an_update_changes_the_fields_of_its_mask_only(stage: Stage) -> None:
    await provide(stage)
    made = await create(stage, note="old", cron="0 1 * * *")
    changed = subscription_pb2.Subscription(
        subscription_id=made.subscription_id,
        etag=made.etag,
        note="new",
        interval="1h",
        live=True,
        cron="ignored",
        selector=Selector(symbol="B"),
    )

    done = await stage.subscriptions.UpdateSubscription(
        pb.UpdateSubscriptionRequest(subscription=changed, update_mask=mask("note", "interval", "live", "selector"))
    )

    found = done.subscription
    assert (found.note, found.interval, found.live, found.cron) == ("new", "1h", True, "0 1 * * *")
    assert found.selector.symbol == "B"
    assert found.etag != made.etag
    series = await stage.subscriptions.ListSubscribedSeries(pb.ListSubscribedSeriesRequest())
    assert [(one.key.symbol, one.key.interval) for one in series.series] == [("B", "1h")]
    event = await stage.last_event("SubscriptionUpdated")
    assert (event["data"]["before"]["note"], event["data"]["after"]["note"]) == ("old", "new")


@pytest.mark.parametrize(
    ("paths", "fields", "reason", "field"),
    [
        ((), {}, "INVALID_ARGUMENT", "update_mask"),
        (("provider",), {"provider": "beta"}, "INVALID_ARGUMENT", "update_mask"),
        (("historical",), {}, "INVALID_ARGUMENT", "update_mask"),
        (("interval",), {"interval": "7min"}, "INVALID_ARGUMENT", "subscription.interval"),
        (("selector",), {}, "INVALID_ARGUMENT", "subscription.selector"),
    ],
)
async def test_an_update_that_cannot_be_taken_changes_nothing(
    stage: Stage, paths: tuple[str, ...], fields: dict[str, Any], reason: str, field: str
) -> None:
    await provide(stage)
    made = await create(stage)
    changed = subscription_pb2.Subscription(subscription_id=made.subscription_id, **fields)

    call = stage.subscriptions.UpdateSubscription(
        pb.UpdateSubscriptionRequest(subscription=changed, update_mask=mask(*paths))
    )

    failure = await failure_of(call)
    assert (failure.reason, list(failure.violations)) == (reason, [field])
    request = pb.GetSubscriptionRequest(subscription_id=made.subscription_id)
    assert (await stage.subscriptions.GetSubscription(request)).subscription.etag == made.etag


async def test_an_update_cannot_make_two_of_the_same(stage: Stage) -> None:
    await provide(stage)
    await create(stage, "A")
    other = await create(stage, "B")
    changed = subscription_pb2.Subscription(subscription_id=other.subscription_id, selector=Selector(symbol="A"))

    call = stage.subscriptions.UpdateSubscription(
        pb.UpdateSubscriptionRequest(subscription=changed, update_mask=mask("selector"))
    )

    assert (await failure_of(call)).reason == "ALREADY_EXISTS"


async def test_an_etag_that_is_old_is_refused(stage: Stage) -> None:
    await provide(stage)
    made = await create(stage)
    one, etag = made.subscription_id, made.etag
    await stage.subscriptions.PauseSubscription(pb.PauseSubscriptionRequest(subscription_id=one, etag=etag))

    for call in (
        stage.subscriptions.ResumeSubscription(pb.ResumeSubscriptionRequest(subscription_id=one, etag=etag)),
        stage.subscriptions.DeleteSubscription(pb.DeleteSubscriptionRequest(subscription_id=one, etag=etag)),
        stage.subscriptions.UpdateSubscription(
            pb.UpdateSubscriptionRequest(
                subscription=subscription_pb2.Subscription(subscription_id=one, etag=etag, note="x"),
                update_mask=mask("note"),
            )
        ),
    ):
        failure = await failure_of(call)
        assert failure.reason == "ETAG_MISMATCH"
        assert failure.code is grpc.StatusCode.ABORTED


async def test_a_removed_subscription_releases_the_series_that_nobody_else_wants(stage: Stage) -> None:
    await provide(stage)
    first = await create(stage, selector=Selector(symbols=subscription_pb2.SymbolList(symbols=["A", "B", "C"])))
    await create(stage, "B")

    gone = await stage.subscriptions.DeleteSubscription(
        pb.DeleteSubscriptionRequest(subscription_id=first.subscription_id)
    )

    assert gone.series_released == 2
    assert await listed(stage) == ["B"]
    failure = await failure_of(
        stage.subscriptions.GetSubscription(pb.GetSubscriptionRequest(subscription_id=first.subscription_id))
    )
    assert failure.reason == "NOT_FOUND"


async def test_a_viewer_may_look_and_not_subscribe(stage: Stage) -> None:
    await provide(stage)
    viewer = stage.subscriptions_as("viewer")

    await viewer.ListSubscriptions(pb.ListSubscriptionsRequest())
    await viewer.PreviewSubscription(pb.PreviewSubscriptionRequest(subscription=new()))
    failure = await failure_of(viewer.CreateSubscription(pb.CreateSubscriptionRequest(subscription=new())))

    assert failure.code is grpc.StatusCode.PERMISSION_DENIED
