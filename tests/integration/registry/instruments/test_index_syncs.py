from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from quasar import errors
from quasar.schedule import Schedule
from quasar_proto.datahub.v1.provider_pb2 import Constituent, ProviderSymbol
from quasar_proto.registry.v1 import asset_service_pb2, index_pb2, mapping_service_pb2
from quasar_proto.registry.v1 import index_service_pb2 as pb
from registry.indices.schedules import preferred
from tests.integration.registry.instruments.index_calls import create, get, members, periods, provider_index, says
from tests.integration.registry.instruments.world import World, key, utc
from tests.integration.rpc.harness import failure_of
from tests.unit.registry.recorded_identity import index_members


async def sync(world: World, name: str, **options: Any) -> Any:
    answer = await world.indices.SyncIndex(pb.SyncIndexRequest(index=name, **options))
    return await world.result(answer, index_pb2.SyncIndexResult)


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


async def test_a_repeated_sync_has_the_operation_of_the_first_whatever_happened_since(world: World) -> None:
    await provider_index(world, "cci", BTC=0.6)
    request = pb.SyncIndexRequest(index="cci", request_id="once")
    request.as_of.FromDatetime(utc(2025, 1, 2))
    first = await world.indices.SyncIndex(request)
    await world.result(first, index_pb2.SyncIndexResult)
    says(world, "cci", BTC=0.7)
    await sync(world, "cci")

    again = await world.indices.SyncIndex(request)

    assert again.operation.operation_id == first.operation.operation_id
    assert not again.already_running
    assert await members(world, "cci") == {"BTC": 0.7}


async def test_members_of_a_provider_index_show_what_they_are_mapped_to(world: World) -> None:
    await provider_index(world, "cci", BTC=0.6, ETH=0.4)
    await sync(world, "cci")
    mapping = mapping_service_pb2.NewMapping(asset=key("cci", "BTC"), common_symbol="BITCOIN")
    await world.mappings.CreateMapping(mapping_service_pb2.CreateMappingRequest(mapping=mapping))
    assert await members(world, "cci") == {"BITCOIN": 0.6, "ETH": 0.4}
    assert await members(world, "cci", filter="mapped = false") == {"ETH": 0.4}
    assert (await get(world, "cci")).mapped_count == 1
    await create(world, "mine", BITCOIN=1.0)
    await create(world, "former", BITCOIN=1.0)
    save = pb.SetIndexMembersRequest(index="former", allow_empty=True)
    await world.indices.SetIndexMembers(save)
    for text, names in (
        ('member = "BITCOIN"', ["cci", "mine"]),
        ('member != "BITCOIN"', ["former"]),
        ('member = "bitcoin"', []),
        ('member:"coin"', ["cci", "mine"]),
        ('NOT member = "BITCOIN" OR type = PROVIDER', ["cci", "former"]),
    ):
        found = await world.indices.ListIndices(pb.ListIndicesRequest(filter=text))
        assert [each.name for each in found.indices] == names, text


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


async def test_when_an_index_is_due_follows_its_last_sync_and_the_preferences_of_its_provider(world: World) -> None:
    await provider_index(world, "cci", BTC=1.0)
    due_times = world.workshop.index_due_times
    found = await get(world, "cci")
    assert found.next_sync_time == found.create_time  # never synced: since it came to be
    assert await due_times.look() == 0
    await sync(world, "cci")
    weekly = (await get(world, "cci")).next_sync_time.ToDatetime(tzinfo=dt.UTC)
    assert (weekly.weekday(), weekly.hour) == (0, 0)
    await world.owner.execute(
        'update registry.code_registry set preferences = \'{"scheduling": {"sync_frequency": "1M"}}\''
    )
    corrected = await due_times.look()
    due = (await get(world, "cci")).next_sync_time.ToDatetime(tzinfo=dt.UTC)
    assert (due.day, due.hour) == (1, 0)
    assert corrected == (due != weekly)  # a month may begin with the week
    assert await world.owner.fetchval("select next_sync_at from registry.index_schedules") == due


async def test_a_failed_sync_is_due_again_within_the_hour(world: World) -> None:
    await provider_index(world, "cci", BTC=1.0)
    world.vendors["cci"].failure = errors.VendorFailed("The vendor is away.")
    await world.done(await world.indices.SyncIndex(pb.SyncIndexRequest(index="cci")))
    found = await get(world, "cci")
    last = found.last_sync_time.ToDatetime(tzinfo=dt.UTC)
    monday = (last + dt.timedelta(days=7 - last.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
    due = min(last + dt.timedelta(hours=1), monday)  # late on a Sunday its schedule comes sooner
    assert found.next_sync_time.ToDatetime(tzinfo=dt.UTC) == due
    assert await world.workshop.index_due_times.look() == 0


async def test_nobody_but_the_datahub_begins_a_due_sync(world: World) -> None:
    await provider_index(world, "cci", BTC=1.0)
    await get(world, "cci")
    await world.workshop.index_due_times.look()
    assert await world.owner.fetchval("select count(*) from ops.operations where kind = 'index.sync'") == 0


@pytest.mark.parametrize(
    ("word", "cron"), [("1d", "0 0 * * *"), ("1w", "0 0 * * 1"), ("1M", "0 0 1 * *"), (None, "0 0 * * 1")]
)
async def test_others_read_the_schedule_that_the_registry_follows(world: World, word: str | None, cron: str) -> None:
    preferences = {"scheduling": {"sync_frequency": word}} if word else {}
    await world.add_code("cci", capabilities=["INDEX"], preferences=preferences)
    await get(world, "cci")
    row = await world.owner.fetchrow("select * from registry.index_schedules")
    assert (row["provider"], row["name"], row["cron"], row["time_zone"]) == ("cci", "cci", cron, "UTC")
    now = utc(2026, 3, 4, 5)
    assert Schedule(row["cron"]).next_fire(now) == preferred(preferences).next_after(now)


async def test_a_schedule_of_its_own_and_none_at_all_are_read_as_they_are_set(world: World) -> None:
    await provider_index(world, "cci", BTC=1.0)
    cron = index_pb2.SyncSchedule(
        frequency=index_pb2.SYNC_FREQUENCY_CRON, cron="30 16 * * 1-5", time_zone="America/New_York"
    )
    request = pb.UpdateIndexRequest(name="cci", index={"sync_schedule": cron}, update_mask={"paths": ["sync_schedule"]})
    await world.indices.UpdateIndex(request)
    row = await world.owner.fetchrow("select * from registry.index_schedules")
    assert (row["cron"], row["time_zone"]) == ("30 16 * * 1-5", "America/New_York")
    request.index.sync_schedule.Clear()
    request.index.sync_schedule.frequency = index_pb2.SYNC_FREQUENCY_MANUAL
    await world.indices.UpdateIndex(request)
    row = await world.owner.fetchrow("select * from registry.index_schedules")
    assert (row["frequency"], row["cron"], row["next_sync_at"]) == ("MANUAL", "", None)


async def test_a_user_index_keeps_its_name_when_a_provider_has_the_same(world: World) -> None:
    await create(world, "cci")
    await provider_index(world, "cci", BTC=1.0)
    listed = await world.indices.ListIndices(pb.ListIndicesRequest(order_by="type desc"))
    assert [(each.name, each.type) for each in listed.indices] == [
        ("cci", index_pb2.INDEX_TYPE_USER),
        ("cci:cci", index_pb2.INDEX_TYPE_PROVIDER),
    ]


async def test_an_index_of_a_provider_is_not_deleted_while_its_provider_exists(world: World) -> None:
    await provider_index(world, "cci", BTC=1.0)
    failure = await failure_of(world.indices.DeleteIndex(pb.DeleteIndexRequest(name="cci")))
    assert "its provider 'cci' exists" in failure.message


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
