from __future__ import annotations

import datetime as dt
from typing import Any

import grpc
import pytest

from quasar_proto.registry.v1 import index_pb2, mapping_service_pb2
from quasar_proto.registry.v1 import index_service_pb2 as pb
from quasar_proto.strategy.v1 import strategy_pb2
from tests.integration.registry.instruments.index_calls import create, get, members, new, periods, provider_index
from tests.integration.registry.instruments.world import World, utc
from tests.integration.rpc.harness import failure_of

ADDED, REMOVED, CHANGED = (
    index_pb2.MEMBERSHIP_CHANGE_ADDED,
    index_pb2.MEMBERSHIP_CHANGE_REMOVED,
    index_pb2.MEMBERSHIP_CHANGE_WEIGHT_CHANGED,
)


async def symbols(world: World, *names: str) -> None:
    for name in names:
        await world.mappings.CreateCommonSymbol(mapping_service_pb2.CreateCommonSymbolRequest(symbol=name))


async def save(world: World, name: str, since: dt.datetime | None = None, **weights: float | None) -> Any:
    request = pb.SetIndexMembersRequest(index=name, members=new(**weights))
    if since is not None:
        request.effective_time.FromDatetime(since)
    return (await world.indices.SetIndexMembers(request)).diff


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


@pytest.mark.parametrize(
    ("order", "passes", "total"),
    [
        ("symbol", "", 5),
        ("common_symbol", 'common_symbol != "A"', 4),
        ("name desc", 'mapped = false AND name = ""', 5),
    ],
)
async def test_every_page_tells_how_many_members_pass_also_one_without_members(
    world: World, order: str, passes: str, total: int
) -> None:
    await symbols(world, *"ABCDE")
    await create(world, "mine", A=None, B=0.2, C=0.5, D=0.2, E=None)

    async def page(token: str = "") -> Any:
        return await world.indices.ListIndexMembers(
            pb.ListIndexMembersRequest(index="mine", filter=passes, order_by=order, page_size=2, page_token=token)
        )

    first = await page()
    assert (len(first.members), first.total_size) == (2, total)
    assert (await page(first.next_page_token)).total_size == total
    kept = {each.common_symbol: each.weight if each.HasField("weight") else None for each in first.members}
    await save(world, "mine", **kept)
    late = await page(first.next_page_token)
    assert (list(late.members), late.next_page_token, late.total_size) == ([], "", 2)


async def test_every_page_of_indices_tells_how_many_pass(world: World) -> None:
    await symbols(world, *"ABC")
    for name, held in (("one", "A"), ("two", "AB"), ("three", "ABC")):
        await create(world, name, **dict.fromkeys(held))

    async def page(passes: str, token: str = "") -> Any:
        return await world.indices.ListIndices(
            pb.ListIndicesRequest(filter=passes, order_by="provider, name", page_size=1, page_token=token)
        )

    for passes, names in (
        ("", ["one", "three", "two"]),
        ('member = "B"', ["three", "two"]),
        ('member != "B"', ["one"]),
    ):
        found: list[str] = []
        token = ""
        while token or not found:
            answer = await page(passes, token)
            assert answer.total_size == len(names)
            found += [each.name for each in answer.indices]
            token = answer.next_page_token
        assert found == names
    first = await page('member = "A"')
    for name in ("three", "two"):
        await world.indices.DeleteIndex(pb.DeleteIndexRequest(name=name))
    late = await page('member = "A"', first.next_page_token)
    assert (list(late.indices), late.total_size) == ([], 1)
