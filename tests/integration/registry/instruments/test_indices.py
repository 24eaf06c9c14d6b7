from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import grpc
import pytest

from quasar import errors
from quasar.clock import SystemClock
from quasar_proto.datahub.v1.provider_pb2 import Constituent, ProviderSymbol
from quasar_proto.registry.v1 import asset_service_pb2, index_pb2, mapping_service_pb2
from quasar_proto.registry.v1 import index_service_pb2 as pb
from quasar_proto.strategy.v1 import strategy_pb2
from registry.indices.scheduler import IndexScheduler
from tests.integration.registry.instruments.world import World, key, utc
from tests.integration.rpc.harness import failure_of
from tests.unit.registry.recorded_identity import index_members

ADDED, REMOVED, CHANGED = (
    index_pb2.MEMBERSHIP_CHANGE_ADDED,
    index_pb2.MEMBERSHIP_CHANGE_REMOVED,
    index_pb2.MEMBERSHIP_CHANGE_WEIGHT_CHANGED,
)


async def symbols(world: World, *names: str) -> None:
    for name in names:
        await world.mappings.CreateCommonSymbol(mapping_service_pb2.CreateCommonSymbolRequest(symbol=name))


def new(**weights: float | None) -> list[pb.NewIndexMember]:
    return [pb.NewIndexMember(common_symbol=name, weight=weight) for name, weight in weights.items()]


async def create(world: World, name: str, **weights: float | None) -> Any:
    return (await world.indices.CreateIndex(pb.CreateIndexRequest(name=name, members=new(**weights)))).index


async def save(world: World, name: str, since: dt.datetime | None = None, **weights: float | None) -> Any:
    request = pb.SetIndexMembersRequest(index=name, members=new(**weights))
    if since is not None:
        request.effective_time.FromDatetime(since)
    return (await world.indices.SetIndexMembers(request)).diff


async def members(world: World, name: str, as_of: dt.datetime | None = None, **query: Any) -> dict[str, float | None]:
    request = pb.ListIndexMembersRequest(index=name, **query)
    if as_of is not None:
        request.as_of.FromDatetime(as_of)
    answer = await world.indices.ListIndexMembers(request)
    return {m.common_symbol or m.asset.symbol: m.weight if m.HasField("weight") else None for m in answer.members}


async def get(world: World, name: str) -> Any:
    return (await world.indices.GetIndex(pb.GetIndexRequest(name=name))).index


async def sync(world: World, name: str, **options: Any) -> Any:
    answer = await world.indices.SyncIndex(pb.SyncIndexRequest(index=name, **options))
    return await world.result(answer, index_pb2.SyncIndexResult)


def says(world: World, name: str, **weights: float | None) -> None:
    world.vendors[name].constituents[name] = [
        Constituent(symbol=symbol, weight=weight, name=f"The {symbol}", asset_class=15)
        for symbol, weight in weights.items()
    ]


async def provider_index(world: World, name: str = "cci", **weights: float | None) -> None:
    await world.add_code(name, capabilities=["INDEX"])
    says(world, name, **weights)


async def periods(world: World) -> int:
    return int(await world.owner.fetchval("select count(*) from registry.index_memberships"))


async def test_a_user_index_has_members_weights_and_counts(world: World) -> None:
    await symbols(world, "BTC", "ETH")
    made = await create(world, " mine ", btc=0.6, ETH=None)
    assert (made.name, made.type, made.member_count, made.weighted_count) == ("mine", index_pb2.INDEX_TYPE_USER, 2, 1)
    assert made.weight_sum == 0.6
    assert await members(world, "MINE") == {"BTC": 0.6, "ETH": None}
    (event,) = await world.events("IndexCreated")
    assert event["actor"] == "operator"


@pytest.mark.parametrize(
    ("name", "given", "reason", "names"),
    [
        ("mine", [("BTC", 1.0)], "ALREADY_EXISTS", "mine"),
        ("MINE", [], "ALREADY_EXISTS", "MINE"),
        ("other", [("NONE", 1.0)], "NOT_FOUND", "NONE"),
        ("other", [("BTC", 1.0), ("btc", 2.0)], "INVALID_ARGUMENT", "members[1].common_symbol"),
        ("other", [("BTC", 0.0)], "INVALID_ARGUMENT", "members[0].weight"),
        ("other", [("BTC", float("nan"))], "INVALID_ARGUMENT", "members[0].weight"),
        ("  ", [], "INVALID_ARGUMENT", "name"),
    ],
)
async def test_an_index_that_cannot_be(
    world: World, name: str, given: list[tuple[str, float]], reason: str, names: str
) -> None:
    await symbols(world, "BTC")
    await create(world, "mine")
    request = pb.CreateIndexRequest(name=name, members=[pb.NewIndexMember(common_symbol=s, weight=w) for s, w in given])
    failure = await failure_of(world.indices.CreateIndex(request))
    assert failure.info.reason == reason
    assert names in failure.everything()


async def test_a_repeated_creation_is_one_and_a_check_only_is_none(world: World) -> None:
    request = pb.CreateIndexRequest(name="mine", request_id="once")
    assert await world.indices.CreateIndex(request) == await world.indices.CreateIndex(request)
    await world.indices.CreateIndex(pb.CreateIndexRequest(name="other", validate_only=True))
    assert (await world.indices.ListIndices(pb.ListIndicesRequest())).total_size == 1


async def test_an_unchanged_save_writes_no_history_and_no_event(world: World) -> None:
    await symbols(world, "BTC", "ETH")
    await create(world, "mine", BTC=0.6, ETH=None)
    before = await get(world, "mine")
    diff = await save(world, "mine", BTC=0.6 + 1e-12, ETH=None)
    assert (len(diff.changes), diff.unchanged, diff.periods_opened) == (0, 2, 0)
    assert (await periods(world), await get(world, "mine")) == (2, before)
    assert not await world.events("IndexMembersChanged")


async def test_a_save_writes_only_the_difference(world: World) -> None:
    await symbols(world, "A", "B", "C", "D")
    await create(world, "mine", A=1.0, B=1.0, C=1.0)
    diff = await save(world, "mine", A=1.0, B=2.0, D=1.0)
    assert [(each.change, each.symbol) for each in diff.changes] == [(REMOVED, "C"), (ADDED, "D"), (CHANGED, "B")]
    assert (diff.periods_opened, diff.periods_closed, await periods(world)) == (2, 2, 5)
    (event,) = await world.events("IndexMembersChanged")
    assert (event["data"]["added"], event["data"]["removed"], event["data"]["weight_changed"]) == (1, 1, 1)


async def test_the_members_of_a_day_are_those_of_that_day(world: World) -> None:
    await symbols(world, "A", "B")
    await create(world, "mine")
    since = dt.datetime.now(dt.UTC) - dt.timedelta(days=30)
    await world.owner.execute("update registry.indices set members_changed_at = null")
    await save(world, "mine", since, A=1.0)
    later = since + dt.timedelta(days=10)
    await save(world, "mine", later, B=1.0)
    moment = dt.timedelta(microseconds=1)
    assert await members(world, "mine", since - moment) == {}
    assert await members(world, "mine", since) == {"A": 1.0}
    assert await members(world, "mine", later - moment) == {"A": 1.0}
    assert await members(world, "mine", later) == {"B": 1.0}
    assert await members(world, "mine") == {"B": 1.0}


async def test_a_save_that_cannot_be(world: World) -> None:
    await symbols(world, "A", "B")
    await create(world, "mine", A=1.0)
    now = dt.datetime.now(dt.UTC)
    for since in (now + dt.timedelta(days=1), now - dt.timedelta(days=1)):
        request = pb.SetIndexMembersRequest(index="mine", members=new(B=1.0))
        request.effective_time.FromDatetime(since)
        assert "effective_time" in (await failure_of(world.indices.SetIndexMembers(request))).message
    empty = pb.SetIndexMembersRequest(index="mine")
    assert "allow_empty" in (await failure_of(world.indices.SetIndexMembers(empty))).message
    stale = pb.SetIndexMembersRequest(index="mine", members=new(B=1.0), etag="0")
    assert (await failure_of(world.indices.SetIndexMembers(stale))).info.reason == "ETAG_MISMATCH"
    dry = pb.SetIndexMembersRequest(index="mine", members=new(B=1.0), validate_only=True)
    assert (await world.indices.SetIndexMembers(dry)).diff.removed == 1
    assert await members(world, "mine") == {"A": 1.0}
    empty.allow_empty = True
    assert (await world.indices.SetIndexMembers(empty)).diff.removed == 1
    assert await members(world, "mine") == {}


async def test_the_timeline_has_the_newest_day_first_and_removals_before_additions(world: World) -> None:
    await symbols(world, "A", "B", "C")
    await create(world, "mine")
    await world.owner.execute("update registry.indices set members_changed_at = null")
    first = utc(2025, 3, 1, 12)
    await save(world, "mine", first, A=1.0, B=1.0)
    await save(world, "mine", first + dt.timedelta(days=1), A=2.0, C=1.0)
    await save(world, "mine", first + dt.timedelta(days=1, hours=3), A=2.0)
    answer = await world.indices.GetIndexTimeline(pb.GetIndexTimelineRequest(index="mine"))
    newest, oldest = answer.days
    assert newest.date.ToDatetime(tzinfo=dt.UTC) == utc(2025, 3, 2)
    assert [(each.change, each.symbol) for each in newest.changes] == [
        (REMOVED, "B"),
        (REMOVED, "C"),
        (ADDED, "C"),
        (CHANGED, "A"),
    ]
    assert (newest.added, newest.removed, newest.weight_changed, newest.member_count) == (1, 2, 1, 1)
    assert (oldest.added, oldest.removed, oldest.member_count) == (2, 0, 2)
    assert (newest.changes[3].weight_before, newest.changes[3].weight_after) == (1.0, 2.0)
    page = await world.indices.GetIndexTimeline(pb.GetIndexTimelineRequest(index="mine", page_size=1))
    rest = await world.indices.GetIndexTimeline(
        pb.GetIndexTimelineRequest(index="mine", page_size=1, page_token=page.next_page_token)
    )
    assert [*page.days, *rest.days] == [newest, oldest]
    only = await world.indices.GetIndexTimeline(pb.GetIndexTimelineRequest(index="mine", symbol="b"))
    assert [[each.symbol for each in day.changes] for day in only.days] == [["B"], ["B"]]
    until = pb.GetIndexTimelineRequest(index="mine")
    until.end_time.FromDatetime(utc(2025, 3, 2))
    assert len((await world.indices.GetIndexTimeline(until)).days) == 1


async def test_an_index_provider_has_its_index_and_it_is_synced(world: World) -> None:
    await provider_index(world, "cci", BTC=0.6, ETH=0.4)
    made = await get(world, "cci")
    assert (made.type, made.provider, made.provider_active) == (index_pb2.INDEX_TYPE_PROVIDER, "cci", True)
    assert made.sync_schedule.frequency == index_pb2.SYNC_FREQUENCY_WEEKLY
    result = await sync(world, "cci")
    assert (result.state, result.diff.added, result.assets_added) == (index_pb2.INDEX_SYNC_STATE_SUCCEEDED, 2, 2)
    says(world, "cci", BTC=0.61, ETH=0.39)
    result = await sync(world, "cci")
    assert (result.diff.weight_changed, result.diff.periods_opened, result.diff.periods_closed) == (2, 2, 2)
    assert (result.diff.unchanged, await periods(world)) == (0, 4)
    again = await sync(world, "cci")
    assert (len(again.diff.changes), again.diff.unchanged, await periods(world)) == (0, 2, 4)
    found = await get(world, "cci")
    assert found.last_sync_state == index_pb2.INDEX_SYNC_STATE_SUCCEEDED
    assert found.next_sync_time.ToDatetime().weekday() == 0
    assert len(await world.events("IndexSynced")) == 3


async def test_an_empty_answer_never_wipes_an_index(world: World) -> None:
    await provider_index(world, "cci", BTC=0.6, ETH=0.4)
    await sync(world, "cci")
    says(world, "cci")
    result = await sync(world, "cci", allow_large_removal=True)
    assert result.state == index_pb2.INDEX_SYNC_STATE_EMPTY_ANSWER
    assert await members(world, "cci") == {"BTC": 0.6, "ETH": 0.4}
    assert "kept" in (await get(world, "cci")).last_sync_message


async def test_a_bad_constituent_is_reported_and_keeps_its_former_weight(world: World) -> None:
    await provider_index(world, "cci", BTC=0.6, ETH=0.4)
    await sync(world, "cci")
    says(world, "cci", BTC=0.0, ETH=0.5, SOL=0.5)
    told = world.vendors["cci"].constituents["cci"]
    told += [Constituent(symbol=" "), Constituent(symbol="ETH", weight=0.1), Constituent(symbol="ODD", asset_class=99)]
    result = await sync(world, "cci")
    assert [(each.position, each.symbol) for each in result.rejections] == [(1, "BTC"), (4, ""), (5, "ETH")]
    assert "must be finite and greater than 0, was 0" in result.rejections[0].message
    assert result.unknown_classes == 1
    assert await members(world, "cci") == {"BTC": 0.6, "ETH": 0.5, "SOL": 0.5, "ODD": None}


async def test_an_answer_that_would_remove_most_members_is_held_back(world: World) -> None:
    await provider_index(world, "cci", **{f"S{i}": 1.0 for i in range(12)})
    await sync(world, "cci")
    says(world, "cci", S0=1.0)
    preview = await world.indices.PreviewIndexSync(pb.PreviewIndexSyncRequest(index="cci"))
    assert preview.result.state == index_pb2.INDEX_SYNC_STATE_HELD_BACK
    assert (await sync(world, "cci")).state == index_pb2.INDEX_SYNC_STATE_HELD_BACK
    assert len(await members(world, "cci")) == 12
    assert (await sync(world, "cci", allow_large_removal=True)).diff.removed == 11
    assert await members(world, "cci") == {"S0": 1.0}


async def test_a_preview_writes_nothing(world: World) -> None:
    await provider_index(world, "cci", BTC=0.6)
    answer = await world.indices.PreviewIndexSync(pb.PreviewIndexSyncRequest(index="cci"))
    assert (answer.result.diff.added, answer.result.assets_added) == (1, 1)
    assert (await periods(world), await world.owner.fetchval("select count(*) from registry.assets")) == (0, 0)


async def test_a_provider_that_fails_keeps_the_members_and_says_so(world: World) -> None:
    await provider_index(world, "cci", BTC=0.6)
    await sync(world, "cci")
    world.vendors["cci"].failure = errors.VendorFailed("The vendor is away.")
    operation = await world.done(await world.indices.SyncIndex(pb.SyncIndexRequest(index="cci")))
    assert operation.error.message == "The vendor is away."
    found = await get(world, "cci")
    assert found.last_sync_state == index_pb2.INDEX_SYNC_STATE_FAILED
    assert found.last_sync_message == "VENDOR_FAILED: The vendor is away."
    assert await members(world, "cci") == {"BTC": 0.6}
    assert await world.events("IndexSyncFailed")


async def test_constituents_of_a_past_day_hold_since_then(world: World) -> None:
    await provider_index(world, "cci", BTC=0.6)
    request = pb.SyncIndexRequest(index="cci")
    request.as_of.FromDatetime(utc(2025, 1, 2))
    await world.result(await world.indices.SyncIndex(request), index_pb2.SyncIndexResult)
    assert world.vendors["cci"].asked_for == ["2025-01-02"]
    assert await members(world, "cci", utc(2025, 6, 1)) == {"BTC": 0.6}
    request.as_of.FromDatetime(utc(2024, 1, 2))
    assert (await failure_of(world.indices.SyncIndex(request))).info.reason == "INVALID_ARGUMENT"


async def test_members_of_a_provider_index_show_what_they_are_mapped_to(world: World) -> None:
    await provider_index(world, "cci", BTC=0.6, ETH=0.4)
    await sync(world, "cci")
    mapping = mapping_service_pb2.NewMapping(asset=key("cci", "BTC"), common_symbol="BITCOIN")
    await world.mappings.CreateMapping(mapping_service_pb2.CreateMappingRequest(mapping=mapping))
    assert await members(world, "cci") == {"BITCOIN": 0.6, "ETH": 0.4}
    assert await members(world, "cci", filter="mapped = false") == {"ETH": 0.4}
    assert (await get(world, "cci")).mapped_count == 1
    found = await world.indices.ListIndices(pb.ListIndicesRequest(filter='member = "BITCOIN"'))
    assert [each.name for each in found.indices] == ["cci"]


async def test_a_version_that_answers_for_other_indices_brings_them(world: World) -> None:
    await create(world, "other")
    code_id = await world.add_code("many", capabilities=["INDEX"], indices=["one", "two"])
    assert (await get(world, "two")).provider == "many"
    await world.owner.execute(
        "update registry.code_versions set manifest = manifest || $2 where code_id = $1",
        code_id,
        {"indices": ["one", "other"]},
    )
    found = (await world.indices.ListIndices(pb.ListIndicesRequest())).indices
    assert {each.name for each in found} == {"one", "two", "other", "many:other"}  # what was there stays


async def test_what_a_type_of_index_does_not_let_change(world: World) -> None:
    await provider_index(world, "cci", BTC=1.0)
    await create(world, "mine")
    schedule = index_pb2.SyncSchedule(frequency=index_pb2.SYNC_FREQUENCY_DAILY)
    cases = [("cci", "name"), ("cci", "description"), ("mine", "sync_schedule")]
    for name, path in cases:
        request = pb.UpdateIndexRequest(
            name=name, index=index_pb2.Index(name="x", sync_schedule=schedule), update_mask={"paths": [path]}
        )
        assert (await failure_of(world.indices.UpdateIndex(request))).code == grpc.StatusCode.FAILED_PRECONDITION
    set_ = pb.SetIndexMembersRequest(index="cci", members=new(A=1.0))
    assert (await failure_of(world.indices.SetIndexMembers(set_))).code == grpc.StatusCode.FAILED_PRECONDITION
    wrong = await failure_of(world.indices.SyncIndex(pb.SyncIndexRequest(index="mine")))
    assert wrong.code == grpc.StatusCode.FAILED_PRECONDITION


async def test_a_new_schedule_is_in_effect_at_once_and_can_follow_the_preference_again(world: World) -> None:
    await provider_index(world, "cci", BTC=1.0)
    await sync(world, "cci")
    cron = index_pb2.SyncSchedule(
        frequency=index_pb2.SYNC_FREQUENCY_CRON, cron="30 16 * * 1-5", time_zone="America/New_York"
    )
    request = pb.UpdateIndexRequest(name="cci", index={"sync_schedule": cron}, update_mask={"paths": ["sync_schedule"]})
    found = (await world.indices.UpdateIndex(request)).index
    assert (found.own_schedule, found.sync_schedule.cron) == (True, "30 16 * * 1-5")
    assert found.next_sync_time.ToDatetime().hour in (20, 21)
    request.index.sync_schedule.time_zone = "Mars/Olympus"
    assert "time_zone" in (await failure_of(world.indices.UpdateIndex(request))).everything()
    request.index.ClearField("sync_schedule")
    found = (await world.indices.UpdateIndex(request)).index
    assert (found.own_schedule, found.sync_schedule.frequency) == (False, index_pb2.SYNC_FREQUENCY_WEEKLY)


async def test_due_indices_are_synced_once_by_the_scheduler(world: World) -> None:
    await provider_index(world, "cci", BTC=1.0)
    scheduler = world.workshop.index_scheduler
    assert await scheduler.look() == 1
    async for _ in _until(world, "IndexSynced"):
        pass
    assert await scheduler.look() == 0
    assert await members(world, "cci") == {"BTC": 1.0}
    await world.owner.execute("update registry.indices set last_sync_at = now() - interval '8 days'")
    assert await scheduler.look() == 1
    await world.owner.execute(
        'update registry.code_registry set preferences = \'{"scheduling": {"sync_frequency": "1M"}}\''
    )
    await scheduler.look()
    due = (await get(world, "cci")).next_sync_time.ToDatetime(tzinfo=dt.UTC)
    assert due.day == 1


class AnHourLater(SystemClock):
    """The clock of the machine, an hour on."""

    def now(self) -> dt.datetime:
        return super().now() + dt.timedelta(hours=1)


async def test_a_due_sync_that_ended_without_a_trace_is_begun_again(world: World) -> None:
    await provider_index(world, "cci", BTC=1.0)
    shop = world.workshop
    assert await shop.index_scheduler.look() == 1
    async for _ in _until(world, "IndexSynced"):
        pass
    # As after a cancellation: the operation has ended, and the index knows of no sync.
    await world.owner.execute("update registry.indices set last_sync_at = null, next_sync_at = created_at")
    later = IndexScheduler(replace(shop.ground, clock=AnHourLater()), shop.indices, shop.index_syncs)

    await later.look()

    assert await world.owner.fetchval("select count(*) from ops.operations where kind = 'index.sync'") == 2


async def test_a_user_index_keeps_its_name_when_a_provider_has_the_same(world: World) -> None:
    await create(world, "cci")
    await provider_index(world, "cci", BTC=1.0)
    listed = await world.indices.ListIndices(pb.ListIndicesRequest(order_by="type desc"))
    assert [(each.name, each.type) for each in listed.indices] == [
        ("cci", index_pb2.INDEX_TYPE_USER),
        ("cci:cci", index_pb2.INDEX_TYPE_PROVIDER),
    ]


async def test_a_rename_of_an_index_and_its_deletion(world: World) -> None:
    await symbols(world, "A")
    await create(world, "mine", A=1.0)
    await create(world, "other")
    rename = pb.UpdateIndexRequest(name="mine", index={"name": "other"}, update_mask={"paths": ["name"]})
    assert (await failure_of(world.indices.UpdateIndex(rename))).info.reason == "ALREADY_EXISTS"
    rename.index.name = "Ours"
    assert (await world.indices.UpdateIndex(rename)).index.name == "Ours"
    dry = await world.indices.DeleteIndex(pb.DeleteIndexRequest(name="ours", validate_only=True))
    assert (dry.members, dry.periods) == (1, 1)
    await world.indices.DeleteIndex(pb.DeleteIndexRequest(name="ours"))
    assert (await failure_of(world.indices.GetIndex(pb.GetIndexRequest(name="ours")))).info.reason == "NOT_FOUND"


@pytest.mark.parametrize(
    ("name", "written"), [("mine", "MINE"), ("Mine", "mine"), ("μετοχέσ", "ΜΕΤΟΧΈΣ"), ("index", "İndex")]
)
async def test_an_index_in_use_is_not_deleted_in_whatever_letters_it_is_used(
    world: World, name: str, written: str
) -> None:
    await create(world, name)
    selector = {"selectors": [{"index": {"index": written, "interval": "1d"}}]}
    world.strategies.instances.append(
        strategy_pb2.Instance(
            instance_id="7",
            state=strategy_pb2.INSTANCE_STATE_RUNNING,
            universe=selector,
        )
    )
    failure = await failure_of(world.indices.DeleteIndex(pb.DeleteIndexRequest(name=name)))
    assert failure.code == grpc.StatusCode.FAILED_PRECONDITION
    assert "instances 7" in failure.message
    world.strategies.instances[0].state = strategy_pb2.INSTANCE_STATE_STOPPED
    await world.indices.DeleteIndex(pb.DeleteIndexRequest(name=written))


async def test_an_index_is_not_in_use_by_those_that_name_another_one(world: World) -> None:
    await create(world, "mine")
    selector = {"selectors": [{"index": {"index": "mines", "interval": "1d"}}, {"symbol": {"symbol": "mine"}}]}
    world.strategies.instances.append(
        strategy_pb2.Instance(instance_id="7", state=strategy_pb2.INSTANCE_STATE_RUNNING, universe=selector)
    )
    await world.indices.DeleteIndex(pb.DeleteIndexRequest(name="mine"))


async def test_an_index_of_a_provider_is_not_deleted_while_its_provider_exists(world: World) -> None:
    await provider_index(world, "cci", BTC=1.0)
    failure = await failure_of(world.indices.DeleteIndex(pb.DeleteIndexRequest(name="cci")))
    assert "its provider 'cci' exists" in failure.message


async def test_members_page_by_weight_with_the_unweighted_last(world: World) -> None:
    await symbols(world, *"ABCDE")
    await create(world, "mine", A=None, B=0.2, C=0.5, D=0.2, E=None)
    found: list[str] = []
    token = ""
    while True:
        request = pb.ListIndexMembersRequest(index="mine", page_size=2, page_token=token)
        answer = await world.indices.ListIndexMembers(request)
        assert answer.total_size == 5
        found += [each.common_symbol for each in answer.members]
        token = answer.next_page_token
        if not token:
            break
    assert found == ["C", "D", "B", "E", "A"] or found == ["C", "B", "D", "A", "E"]
    assert list(await members(world, "mine", order_by="weight, symbol")) == ["B", "D", "C", "A", "E"]


async def test_the_recorded_indices_are_synced_from_a_provider_with_several(world: World) -> None:
    recorded = index_members()
    await world.add_code("ticker", capabilities=["INDEX"], indices=sorted(recorded))
    for name, listed in recorded.items():
        unique = {each["symbol"]: each["name"] for each in listed}
        world.vendors["ticker"].constituents[name] = [
            Constituent(symbol=symbol, name=label) for symbol, label in unique.items()
        ]
    report = await world.sync("ticker", skip_matching=True, skip_mapping=True)
    assert report.received == sum(len(listed) for listed in world.vendors["ticker"].constituents.values())
    listed = await world.indices.ListIndices(pb.ListIndicesRequest(order_by="member_count desc, name"))
    assert listed.total_size == len(recorded) == 8
    assert sum(each.member_count for each in listed.indices) == report.received
    gone = "Adidas"
    dax = world.vendors["ticker"].constituents["DAX"]
    removed = next(each.symbol for each in dax if each.name == gone)
    world.vendors["ticker"].constituents["DAX"] = [each for each in dax if each.symbol != removed]
    assert (await sync(world, "DAX")).diff.removed == 1
    count = await world.assets.CountAssets(asset_service_pb2.CountAssetsRequest(filter="state = LISTED"))
    assert count.total > 300


async def test_a_provider_that_lists_symbols_knows_them_better_than_its_index(world: World) -> None:
    await world.add_code("both", capabilities=["INDEX", "SYMBOLS"])
    world.vendors["both"].symbols = [ProviderSymbol(symbol="BTC", name="Bitcoin", exchange="KRKN")]
    await world.sync("both", skip_matching=True, skip_mapping=True)
    says(world, "both", BTC=0.5, ETH=0.5)
    await sync(world, "both")
    asset = await world.assets.GetAsset(asset_service_pb2.GetAssetRequest(key=key("both", "BTC")))
    assert (asset.asset.name, asset.asset.exchange) == ("Bitcoin", "KRKN")


async def _until(world: World, kind: str) -> Any:
    """Wait until an event of a kind is there."""
    cursor = ""
    async for batch in world.workshop.ground.events.watch(
        filter_text=f'kind = "{kind}"', cursor=cursor, since=utc(2020, 1, 1)
    ):
        yield batch
        if batch.events:
            return
