"""Many subscriptions at once, all or none."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf import field_mask_pb2

from quasar_proto.registry.v1 import subscription_pb2
from quasar_proto.registry.v1 import subscription_service_pb2 as pb
from tests.integration.registry.stage import MAX_SERIES, Stage, failure_of, provide

New = subscription_pb2.NewSubscription
Selector = subscription_pb2.Selector


def wishes(*symbols: str, **fields: Any) -> list[subscription_pb2.NewSubscription]:
    """Return wishes for daily bars of symbols of alpha."""
    given = {"provider": "alpha", "interval": "1d", **fields}
    return [New(selector=Selector(symbol=symbol), **given) for symbol in symbols]


async def create(stage: Stage, *symbols: str, **fields: Any) -> pb.BatchCreateSubscriptionsResponse:
    """Subscribe to symbols of alpha."""
    request = pb.BatchCreateSubscriptionsRequest(subscriptions=wishes(*symbols), **fields)
    answer: pb.BatchCreateSubscriptionsResponse = await stage.subscriptions.BatchCreateSubscriptions(request)
    return answer


def named(answer: pb.BatchCreateSubscriptionsResponse) -> pb.SubscriptionSet:
    """Return the subscriptions of a batch as a set."""
    return pb.SubscriptionSet(ids=pb.SubscriptionIds(subscription_ids=answer.subscription_ids))


async def states(stage: Stage) -> list[tuple[str, int]]:
    """Return symbol and state of all subscriptions."""
    answer = await stage.subscriptions.ListSubscriptions(pb.ListSubscriptionsRequest(without_status=True))
    return [(one.selector.symbol, int(one.state)) for one in answer.subscriptions]


async def test_ten_thousand_are_created_in_one_call_with_one_event(stage: Stage) -> None:
    symbols = tuple(f"S{number:05}" for number in range(10_000))
    await provide(stage, symbols=symbols)

    answer = await create(stage, *symbols)

    assert (answer.created, answer.existing) == (10_000, 0)
    assert len(set(answer.subscription_ids)) == 10_000
    event = await stage.last_event("SubscriptionsCreated")
    assert event["data"]["created"] == 10_000
    assert len(event["data"]["subscription_ids"]) == 1000
    assert await stage.database.fetchval("select count(*) from registry.subscription_symbols") == 10_000
    assert (await stage.kinds_of_events()).count("SubscriptionCreated") == 0


async def test_one_wrong_entry_keeps_the_whole_batch_out_and_every_wrong_entry_is_named(stage: Stage) -> None:
    await provide(stage, symbols=("A", "B"))
    batch = [
        *wishes("A"),
        *wishes("B", interval="7min"),
        *wishes("NOPE"),
        *wishes("B", cron="never"),
        *wishes("A", provider="nobody"),
    ]

    failure = await failure_of(
        stage.subscriptions.BatchCreateSubscriptions(pb.BatchCreateSubscriptionsRequest(subscriptions=batch))
    )

    assert sorted(failure.violations) == [
        "subscriptions[1].interval",
        "subscriptions[2].selector.symbol",
        "subscriptions[3].cron",
        "subscriptions[4].provider",
    ]
    assert "3 more entries" in failure.message
    assert await states(stage) == []


async def test_of_very_many_wrong_entries_the_first_are_named_and_the_others_counted(stage: Stage) -> None:
    await provide(stage)
    batch = wishes(*(f"S{number}" for number in range(1500)), interval="7min")

    failure = await failure_of(
        stage.subscriptions.BatchCreateSubscriptions(pb.BatchCreateSubscriptionsRequest(subscriptions=batch))
    )

    assert failure.reason == "INVALID_ARGUMENT"
    assert list(failure.violations)[:20] == [f"subscriptions[{number}].interval" for number in range(20)]
    assert "1499 more entries" in failure.message


async def test_existing_ones_fail_the_batch_unless_they_may_be_skipped(stage: Stage) -> None:
    await provide(stage)
    first = await create(stage, "A")

    request = pb.BatchCreateSubscriptionsRequest(subscriptions=wishes("A", "B", "B"))
    failure = await failure_of(stage.subscriptions.BatchCreateSubscriptions(request))
    skipped = await create(stage, "A", "B", "B", skip_existing=True)

    assert failure.reason == "ALREADY_EXISTS"
    assert list(failure.violations) == ["subscriptions[0]", "subscriptions[2]"]
    assert (skipped.created, skipped.existing) == (1, 2)
    assert skipped.subscription_ids[0] == first.subscription_ids[0]
    assert skipped.subscription_ids[1] == skipped.subscription_ids[2]


async def test_a_repeated_batch_has_the_answer_of_the_first(stage: Stage) -> None:
    await provide(stage)

    first = await create(stage, "A", "B", request_id="r-1")
    again = await create(stage, "A", "B", request_id="r-1")

    assert again == first
    assert len(await states(stage)) == 2


async def test_a_batch_can_be_tried_without_storing_it(stage: Stage) -> None:
    await provide(stage)
    first = await create(stage, "A")

    tried = await create(stage, "A", "B", skip_existing=True, validate_only=True)

    assert (tried.created, tried.existing) == (1, 1)
    assert list(tried.subscription_ids) == [first.subscription_ids[0], ""]
    assert len(await states(stage)) == 1


async def test_more_series_than_may_be_are_refused_as_a_whole(stage: Stage) -> None:
    await provide(stage)
    names = subscription_pb2.SymbolList(symbols=[f"S{number}" for number in range(MAX_SERIES // 2)])
    await stage.subscriptions.BatchCreateSubscriptions(
        pb.BatchCreateSubscriptionsRequest(
            subscriptions=[
                New(provider="alpha", interval=interval, selector=Selector(symbols=names)) for interval in ("1h", "1d")
            ]
        )
    )

    failure = await failure_of(
        stage.subscriptions.BatchCreateSubscriptions(
            pb.BatchCreateSubscriptionsRequest(subscriptions=wishes("A", "B", "C", "D"))
        )
    )

    assert failure.reason == "QUOTA_EXCEEDED"
    assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert f"at most {MAX_SERIES}" in failure.message
    assert f"would be {MAX_SERIES + 4}" in failure.message
    assert len(await states(stage)) == 2


@pytest.mark.parametrize("tried", [True, False], ids=["tried", "done"])
async def test_a_change_cannot_select_more_series_than_may_be_either(stage: Stage, tried: bool) -> None:
    await provide(stage)
    names = [f"S{number}" for number in range(6_001)]
    made = await create(stage, "A")
    full = subscription_pb2.SymbolList(symbols=names)
    await stage.subscriptions.CreateSubscription(
        pb.CreateSubscriptionRequest(subscription=New(provider="alpha", interval="1h", selector=Selector(symbols=full)))
    )
    changed = subscription_pb2.Subscription(
        subscription_id=made.subscription_ids[0], selector=Selector(symbols=full), note="wider"
    )
    mask = field_mask_pb2.FieldMask(paths=["selector", "note"])
    request = pb.UpdateSubscriptionRequest(subscription=changed, update_mask=mask, validate_only=tried)

    failure = await failure_of(stage.subscriptions.UpdateSubscription(request))

    assert (failure.reason, failure.code) == ("QUOTA_EXCEEDED", grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert f"would be {MAX_SERIES + 2}" in failure.message
    found = await stage.subscriptions.ListSubscriptions(
        pb.ListSubscriptionsRequest(filter='symbol = "A"', without_status=True)
    )
    assert [one.note for one in found.subscriptions] == [""]
    assert await stage.database.fetchval("select count(*) from registry.subscription_symbols") == 6_002


async def test_a_tried_change_of_a_selection_stores_nothing(stage: Stage) -> None:
    await provide(stage)
    made = await create(stage, "A")
    changed = subscription_pb2.Subscription(
        subscription_id=made.subscription_ids[0], selector=Selector(symbol="B"), note="other"
    )
    mask = field_mask_pb2.FieldMask(paths=["selector", "note"])
    request = pb.UpdateSubscriptionRequest(subscription=changed, update_mask=mask, validate_only=True)

    seen = (await stage.subscriptions.UpdateSubscription(request)).subscription

    assert (seen.selector.symbol, seen.note) == ("B", "other")
    assert [symbol for symbol, _ in await states(stage)] == ["A"]
    assert await stage.database.fetchval("select array_agg(symbol) from registry.subscription_symbols") == ["A"]
    assert (await stage.kinds_of_events()).count("SubscriptionUpdated") == 0


async def test_many_are_paused_and_resumed_by_id_and_by_filter(stage: Stage) -> None:
    await provide(stage)
    made = await create(stage, "A", "B", "C")
    await stage.subscriptions.PauseSubscription(pb.PauseSubscriptionRequest(subscription_id=made.subscription_ids[0]))

    tried = await stage.subscriptions.BatchPauseSubscriptions(
        pb.BatchPauseSubscriptionsRequest(subscriptions=named(made), validate_only=True)
    )
    paused = await stage.subscriptions.BatchPauseSubscriptions(
        pb.BatchPauseSubscriptionsRequest(subscriptions=named(made), reason="holiday")
    )
    resumed = await stage.subscriptions.BatchResumeSubscriptions(
        pb.BatchResumeSubscriptionsRequest(subscriptions=pb.SubscriptionSet(filter='symbol = "B"'))
    )

    assert (tried.matched, tried.changed) == (paused.matched, paused.changed) == (3, 2)
    assert (resumed.matched, resumed.changed) == (1, 1)
    assert await states(stage) == [("A", 2), ("B", 1), ("C", 2)]
    kinds = await stage.kinds_of_events()
    assert kinds[-2:] == ["SubscriptionsPaused", "SubscriptionsResumed"]


async def test_an_id_that_does_not_exist_keeps_the_whole_batch_as_it_is(stage: Stage) -> None:
    await provide(stage)
    made = await create(stage, "A")
    nobody = "00000000-0000-4000-8000-000000000000"
    both = pb.SubscriptionSet(ids=pb.SubscriptionIds(subscription_ids=[made.subscription_ids[0], nobody]))

    for call in (
        stage.subscriptions.BatchPauseSubscriptions(pb.BatchPauseSubscriptionsRequest(subscriptions=both)),
        stage.subscriptions.BatchDeleteSubscriptions(pb.BatchDeleteSubscriptionsRequest(subscriptions=both)),
    ):
        failure = await failure_of(call)
        assert failure.reason == "NOT_FOUND"
        assert nobody in failure.message
    assert await states(stage) == [("A", 1)]


async def test_the_same_fields_of_many_are_changed(stage: Stage) -> None:
    await provide(stage)
    made = await create(stage, "A", "B")
    request = pb.BatchUpdateSubscriptionsRequest(
        subscriptions=named(made),
        update_mask=field_mask_pb2.FieldMask(paths=["note", "live"]),
    )
    getattr(request, "values").CopyFrom(subscription_pb2.Subscription(note="together", live=True))  # noqa: B009

    done = await stage.subscriptions.BatchUpdateSubscriptions(request)
    again = await stage.subscriptions.BatchUpdateSubscriptions(request)

    assert (done.matched, done.changed, again.changed) == (2, 2, 0)
    answer = await stage.subscriptions.ListSubscriptions(pb.ListSubscriptionsRequest(filter='note = "together"'))
    assert [(one.live, one.historical) for one in answer.subscriptions] == [(True, True)] * 2


async def test_a_change_that_one_of_many_cannot_take_changes_none_and_names_it(stage: Stage) -> None:
    await provide(stage)
    await provide(stage, "beta", capabilities=["PROVIDER_CAPABILITY_HISTORICAL"])
    first = await create(stage, "A")
    second = await stage.subscriptions.BatchCreateSubscriptions(
        pb.BatchCreateSubscriptionsRequest(subscriptions=wishes("A", provider="beta"))
    )
    request = pb.BatchUpdateSubscriptionsRequest(
        subscriptions=pb.SubscriptionSet(filter='symbol = "A"'), update_mask=field_mask_pb2.FieldMask(paths=["live"])
    )
    getattr(request, "values").live = True  # noqa: B009

    failure = await failure_of(stage.subscriptions.BatchUpdateSubscriptions(request))

    assert failure.reason == "FAILED_PRECONDITION"
    assert list(failure.violations) == [f'subscriptions["{second.subscription_ids[0]}"]']
    answer = await stage.subscriptions.ListSubscriptions(pb.ListSubscriptionsRequest(filter="live = true"))
    assert list(answer.subscriptions) == []
    assert first.created == 1


async def test_many_are_removed_and_their_series_released(stage: Stage) -> None:
    await provide(stage)
    made = await create(stage, "A", "B", "C")
    some = pb.SubscriptionSet(ids=pb.SubscriptionIds(subscription_ids=made.subscription_ids[:2]))

    tried = await stage.subscriptions.BatchDeleteSubscriptions(
        pb.BatchDeleteSubscriptionsRequest(subscriptions=some, validate_only=True)
    )
    gone = await stage.subscriptions.BatchDeleteSubscriptions(pb.BatchDeleteSubscriptionsRequest(subscriptions=some))

    assert (tried.deleted, tried.series_released) == (gone.deleted, gone.series_released) == (2, 2)
    assert await states(stage) == [("C", 1)]


@pytest.mark.parametrize("named_by", [pb.SubscriptionSet(), pb.SubscriptionSet(filter="colour = 1")])
async def test_a_set_that_says_nothing_or_nonsense_is_refused(stage: Stage, named_by: pb.SubscriptionSet) -> None:
    call = stage.subscriptions.BatchDeleteSubscriptions(pb.BatchDeleteSubscriptionsRequest(subscriptions=named_by))

    assert (await failure_of(call)).code is grpc.StatusCode.INVALID_ARGUMENT


async def test_batches_that_overlap_at_once_end_without_waiting_for_each_other_for_ever(stage: Stage) -> None:
    await provide(stage)
    symbols = [f"S{number}" for number in range(60)]
    made = await create(stage, *symbols)
    forth, back = list(made.subscription_ids), list(reversed(made.subscription_ids))

    async def pause(ids: list[str]) -> None:
        some = pb.SubscriptionSet(ids=pb.SubscriptionIds(subscription_ids=ids))
        await stage.subscriptions.BatchPauseSubscriptions(pb.BatchPauseSubscriptionsRequest(subscriptions=some))

    async def resume(ids: list[str]) -> None:
        some = pb.SubscriptionSet(ids=pb.SubscriptionIds(subscription_ids=ids))
        await stage.subscriptions.BatchResumeSubscriptions(pb.BatchResumeSubscriptionsRequest(subscriptions=some))

    await asyncio.gather(*(work(ids) for _ in range(5) for work in (pause, resume) for ids in (forth, back)))

    assert len({state for _, state in await states(stage)}) == 1
