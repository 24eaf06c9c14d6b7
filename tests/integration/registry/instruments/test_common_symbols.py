from __future__ import annotations

import json

import grpc
import pytest

from quasar_proto.registry.v1 import asset_service_pb2
from quasar_proto.registry.v1 import mapping_service_pb2 as pb
from registry.subscriptions.selections import Selection
from tests.integration.registry.instruments.mapping_calls import (
    FIGI_A,
    common,
    create,
    equity,
    generate,
    index,
    members,
    names,
    remap,
    source,
)
from tests.integration.registry.instruments.world import World, broker, key, provider
from tests.integration.rpc.harness import failure_of


async def test_a_common_symbol_that_somebody_created_stays_without_mappings(world: World) -> None:
    await source(world, "alpha", equity("A"))
    await create(world, "alpha", "A", "ONE")
    request = pb.CreateCommonSymbolRequest(symbol="ONE", description="mine")
    made = (await world.mappings.CreateCommonSymbol(request)).common_symbol
    assert (made.explicit, made.mapping_count) == (True, 1)
    assert (await failure_of(world.mappings.CreateCommonSymbol(request))).info.reason == "ALREADY_EXISTS"
    request.symbol = "one"
    assert (await failure_of(world.mappings.CreateCommonSymbol(request))).info.reason == "ALREADY_EXISTS"
    request.symbol = "  "
    assert (await failure_of(world.mappings.CreateCommonSymbol(request))).info.reason == "INVALID_ARGUMENT"
    await world.mappings.DeleteMapping(pb.DeleteMappingRequest(asset=key("alpha", "A")))
    assert await names(world) == ["ONE"]


async def test_a_rename_takes_mappings_members_history_and_subscriptions_along(world: World) -> None:
    await source(world, "alpha", equity("A"))
    await source(world, "beta", equity("A"))
    await create(world, "alpha", "A", "OLD")
    await create(world, "beta", "A", "OLD")
    await index(world, "mine", OLD=0.5)
    await subscribe(world, "alpha", "OLD")
    request = pb.RenameCommonSymbolRequest(symbol="old", new_symbol=" NEW ", validate_only=True)
    dry = await world.mappings.RenameCommonSymbol(request)
    assert await names(world) == ["OLD"]
    request.validate_only = False
    answer = await world.mappings.RenameCommonSymbol(request)
    assert dry == answer or dry.mappings_updated == answer.mappings_updated
    assert (answer.mappings_updated, answer.memberships_updated, answer.subscriptions_updated) == (2, 1, 1)
    assert (answer.common_symbol.symbol, answer.common_symbol.mapping_count) == ("NEW", 2)
    assert await members(world, "mine") == [("NEW", 0.5)]
    row = await world.owner.fetchrow(
        "select selector, selection_names, selection_key from registry.provider_subscription"
    )
    assert row["selector"] == {"common_symbol": "NEW"}
    assert row["selection_key"] == Selection.of(row["selector"]).key
    for asset in ("alpha", "beta"):
        await world.mappings.DeleteMapping(pb.DeleteMappingRequest(asset=key(asset, "A")))
    assert (await common(world, "NEW")).common_symbol.mapping_count == 0


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("NOWHERE", "X", "NOT_FOUND"),
        ("ONE", "two", "ALREADY_EXISTS"),
        ("ONE", "  ", "INVALID_ARGUMENT"),
        ("ONE", " ONE ", "INVALID_ARGUMENT"),
    ],
)
async def test_a_rename_that_cannot_be(world: World, old: str, new: str, reason: str) -> None:
    for symbol in ("ONE", "TWO"):
        await world.mappings.CreateCommonSymbol(pb.CreateCommonSymbolRequest(symbol=symbol))
    request = pb.RenameCommonSymbolRequest(symbol=old, new_symbol=new)
    assert (await failure_of(world.mappings.RenameCommonSymbol(request))).info.reason == reason


@pytest.mark.parametrize("symbol", ["ΟΠΑΣ", "İST", "ÉTÉ", "ẞ"])
async def test_letters_whose_case_languages_disagree_about_are_letters_like_others(world: World, symbol: str) -> None:
    await source(world, "alpha", equity("A"), equity("B"), equity(symbol, primary_id=FIGI_A))
    await create(world, "alpha", "A", symbol)
    assert (await failure_of(create(world, "alpha", "B", symbol))).code == grpc.StatusCode.ALREADY_EXISTS
    await index(world, "mine", **{symbol: 1.0})
    assert await members(world, "mine") == [(symbol, 1.0)]
    queries = [pb.SymbolQuery(common_symbol=symbol)]
    answer = await world.mappings.ResolveSymbols(pb.ResolveSymbolsRequest(queries=queries))
    assert [each.symbol for each in answer.resolutions[0].assets] == ["A"]
    for filter_ in (f'common_symbol = "{symbol}"', f'symbol = "{symbol}"'):
        found = await world.assets.ListAssets(asset_service_pb2.ListAssetsRequest(filter=filter_))
        assert len(found.assets) == 1
    assert (await generate(world)).created == 1  # under a name of its own where `symbol` is taken
    assert (await remap(world)).unchanged == 1


async def test_a_change_of_case_is_a_rename(world: World) -> None:
    await world.mappings.CreateCommonSymbol(pb.CreateCommonSymbolRequest(symbol="Btc"))
    await world.mappings.RenameCommonSymbol(pb.RenameCommonSymbolRequest(symbol="btc", new_symbol="BTC"))
    assert await names(world) == ["BTC"]


async def test_a_common_symbol_in_use_is_not_deleted(world: World) -> None:
    await source(world, "alpha", equity("A"))
    await create(world, "alpha", "A", "ONE")
    await index(world, "mine", ONE=1.0)
    await subscribe(world, "alpha", "ONE")
    dry = await world.mappings.DeleteCommonSymbol(pb.DeleteCommonSymbolRequest(symbol="ONE", validate_only=True))
    assert (len(dry.mappings), list(dry.indices), len(dry.subscription_ids)) == (1, ["mine"], 1)
    failure = await failure_of(
        world.mappings.DeleteCommonSymbol(pb.DeleteCommonSymbolRequest(symbol="ONE", force=True))
    )
    assert failure.code == grpc.StatusCode.FAILED_PRECONDITION
    assert "mine" in failure.message
    assert "name it" in failure.message


async def test_a_common_symbol_with_mappings_is_deleted_by_force_only(world: World) -> None:
    await source(world, "alpha", equity("A"))
    await create(world, "alpha", "A", "ONE")
    request = pb.DeleteCommonSymbolRequest(symbol="one")
    assert (await failure_of(world.mappings.DeleteCommonSymbol(request))).code == grpc.StatusCode.FAILED_PRECONDITION
    request.force = True
    assert len((await world.mappings.DeleteCommonSymbol(request)).mappings) == 1
    assert await names(world) == []


async def test_symbols_are_translated_and_what_cannot_be_says_so(world: World) -> None:
    await source(world, "alpha", equity("A.US"), equity("B.US"), equity("C.US"))
    await source(world, "beta", equity("a"))
    await create(world, "alpha", "A.US", "A")
    await create(world, "beta", "a", "A")
    await create(world, "alpha", "B.US", "B", inactive=True)
    await world.add_code("desk", kind="broker")
    queries = [
        {"common_symbol": "a"},
        {"asset": key("alpha", "A.US")},
        {"asset": key("alpha", "B.US")},
        {"asset": key("alpha", "C.US")},
        {"asset": key("alpha", "NONE")},
        {"common_symbol": "NONE"},
        {"common_symbol": "B"},
    ]
    answer = await world.mappings.ResolveSymbols(pb.ResolveSymbolsRequest(queries=queries))
    states = [pb.ResolutionState.Name(each.state).removeprefix("RESOLUTION_STATE_") for each in answer.resolutions]
    assert states == ["RESOLVED", "RESOLVED", "INACTIVE", "UNMAPPED", "UNKNOWN", "UNKNOWN", "NO_TARGET"]
    assert [each.source.name for each in answer.resolutions[1].assets] == ["alpha", "beta"]
    only = await world.mappings.ResolveSymbols(
        pb.ResolveSymbolsRequest(queries=queries[:1], targets=[provider("beta")])
    )
    assert [each.symbol for each in only.resolutions[0].assets] == ["a"]
    none = await world.mappings.ResolveSymbols(pb.ResolveSymbolsRequest(queries=queries[:1], targets=[broker("desk")]))
    assert none.resolutions[0].state == pb.RESOLUTION_STATE_NO_TARGET


async def test_a_common_symbol_is_resolved_to_its_identity(world: World) -> None:
    await source(world, "alpha", equity("A", primary_id=FIGI_A))
    await create(world, "alpha", "A", "AA")
    answer = await world.assets.ResolveIdentity(asset_service_pb2.ResolveIdentityRequest(common_symbol="aa"))
    assert not answer.matches


async def subscribe(world: World, name: str, symbol: str) -> None:
    selection = Selection.of({"common_symbol": symbol})
    await world.owner.execute(
        "insert into registry.provider_subscription"
        " (code_id, provider, selector, interval, selection_kind, selection_name, selection_names, selection_key)"
        " select code_id, name, $2, '1d', 'common_symbol', $3, array[$3], $4"
        " from registry.code_registry where name = $1",
        name,
        json.loads(json.dumps(selection.document())),
        symbol,
        selection.key,
    )
