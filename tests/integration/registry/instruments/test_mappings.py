from __future__ import annotations

import json
from typing import Any

import grpc
import pytest

from quasar_proto.datahub.v1.provider_pb2 import ProviderSymbol
from quasar_proto.registry.v1 import asset_service_pb2, index_service_pb2, mapping_pb2
from quasar_proto.registry.v1 import mapping_service_pb2 as pb
from registry.subscriptions.selections import Selection
from tests.integration.registry.instruments.world import World, broker, key, provider
from tests.integration.rpc.harness import failure_of

EQUITY, CRYPTO = 1, 15
FIGI_A, FIGI_B, FIGI_C = "BBG000B9XRY4", "BBG000BPH459", "BBG000BLNNH6"


async def source(world: World, name: str, *symbols: ProviderSymbol, **options: Any) -> None:
    if name not in world.vendors:
        await world.add_code(name, **options)
    world.vendors[name].symbols = list(symbols)
    await world.sync(name, skip_matching=True, skip_mapping=True)


def equity(symbol: str, **more: Any) -> ProviderSymbol:
    return ProviderSymbol(symbol=symbol, asset_class=EQUITY, **more)  # enum values are integers


def pair(symbol: str, base: str, quote: str, **more: Any) -> ProviderSymbol:
    return ProviderSymbol(symbol=symbol, asset_class=CRYPTO, base_currency=base, quote_currency=quote, **more)


async def create(world: World, name: str, symbol: str, common: str, **more: Any) -> Any:
    new = pb.NewMapping(asset=key(name, symbol), common_symbol=common, **more)
    return (await world.mappings.CreateMapping(pb.CreateMappingRequest(mapping=new))).mapping


async def common(world: World, symbol: str) -> Any:
    return await world.mappings.GetCommonSymbol(pb.GetCommonSymbolRequest(symbol=symbol))


async def names(world: World) -> list[str]:
    answer = await world.mappings.ListCommonSymbols(pb.ListCommonSymbolsRequest())
    return [each.symbol for each in answer.common_symbols]


async def mapped(world: World) -> dict[str, str]:
    answer = await world.mappings.ListMappings(pb.ListMappingsRequest(page_size=1000))
    return {f"{each.asset.source.name} {each.asset.symbol}": each.common_symbol for each in answer.mappings}


async def generate(world: World, **options: Any) -> Any:
    request = pb.GenerateMappingsRequest(**(options or {"all_sources": True}))
    return await world.result(await world.mappings.GenerateMappings(request), mapping_pb2.GenerateMappingsResult)


async def remap(world: World, **scope: Any) -> Any:
    request = pb.RemapRequest(scope=mapping_pb2.RemapScope(**(scope or {"everything": True})))
    return (await world.result(await world.mappings.Remap(request), mapping_pb2.RemapResult)).plan


async def index(world: World, name: str, **weights: float) -> None:
    members = [index_service_pb2.NewIndexMember(common_symbol=s, weight=w) for s, w in weights.items()]
    await world.indices.CreateIndex(index_service_pb2.CreateIndexRequest(name=name, members=members))


async def members(world: World, name: str) -> list[tuple[str, float]]:
    answer = await world.indices.ListIndexMembers(index_service_pb2.ListIndexMembersRequest(index=name))
    return [(each.common_symbol, each.weight) for each in answer.members]


async def test_a_mapping_makes_its_common_symbol_and_takes_it_along_when_it_goes(world: World) -> None:
    await source(world, "alpha", equity("AAPL.US", name="Apple Inc.", exchange="XNAS"))
    made = await create(world, "alpha", "AAPL.US", "  AAPL ")
    assert (made.common_symbol, made.active, made.origin) == ("AAPL", True, mapping_pb2.MAPPING_ORIGIN_MANUAL)
    assert (made.asset_name, made.exchange, made.updated_by.principal) == ("Apple Inc.", "XNAS", "operator")
    found = await common(world, "aapl")
    assert (found.common_symbol.mapping_count, found.common_symbol.provider_count) == (1, 1)
    answer = await world.mappings.DeleteMapping(pb.DeleteMappingRequest(asset=key("alpha", "AAPL.US")))
    assert answer.common_symbol_removed
    assert await names(world) == []
    kinds = [row["kind"] for row in await world.owner.fetch("select kind from ops.events order by id")]
    assert kinds[-2:] == ["MappingCreated", "MappingDeleted"]


async def test_a_mapping_that_cannot_be_names_its_field_and_leaves_nothing_behind(world: World) -> None:
    await source(world, "alpha", equity("A"), equity("B"))
    await create(world, "alpha", "A", "ONE")
    cases = [
        (key("nobody", "A"), "X", "NOT_FOUND", "mapping"),
        (key("alpha", "NONE"), "X", "NOT_FOUND", "asset.symbol"),
        (key("alpha", "A"), "TWO", "ALREADY_EXISTS", "asset"),
        (key("alpha", "B"), "one", "ALREADY_EXISTS", "common_symbol"),
        (key("alpha", "B"), "   ", "INVALID_ARGUMENT", "common_symbol"),
        (key("alpha", "B"), "x" * 201, "INVALID_ARGUMENT", "common_symbol"),
    ]
    for asset, symbol, reason, _ in cases:
        request = pb.CreateMappingRequest(mapping=pb.NewMapping(asset=asset, common_symbol=symbol))
        assert (await failure_of(world.mappings.CreateMapping(request))).info.reason == reason
    assert await names(world) == ["ONE"]


async def test_a_repeated_request_makes_one_mapping(world: World) -> None:
    await source(world, "alpha", equity("A"))
    new = pb.NewMapping(asset=key("alpha", "A"), common_symbol="ONE")
    request = pb.CreateMappingRequest(mapping=new, request_id="once")
    first, again = await world.mappings.CreateMapping(request), await world.mappings.CreateMapping(request)
    assert first == again
    request.mapping.common_symbol = "OTHER"
    assert (await failure_of(world.mappings.CreateMapping(request))).info.reason == "ALREADY_EXISTS"


async def test_a_check_only_stores_nothing(world: World) -> None:
    await source(world, "alpha", equity("A"))
    new = pb.NewMapping(asset=key("alpha", "A"), common_symbol="ONE")
    answer = await world.mappings.CreateMapping(pb.CreateMappingRequest(mapping=new, validate_only=True))
    assert answer.mapping.common_symbol == "ONE"
    assert await names(world) == []
    assert not await world.events("MappingCreated")


async def test_an_update_changes_what_the_mask_names(world: World) -> None:
    await source(world, "alpha", equity("A"), equity("B"))
    made = await create(world, "alpha", "A", "ONE")
    await create(world, "alpha", "B", "TWO")

    def change(paths: list[str], **values: Any) -> pb.UpdateMappingRequest:
        mapping = mapping_pb2.Mapping(asset=key("alpha", "A"), **values)
        return pb.UpdateMappingRequest(mapping=mapping, update_mask={"paths": paths})

    off = (await world.mappings.UpdateMapping(change(["active"], etag=made.etag))).mapping
    assert (off.active, off.common_symbol) == (False, "ONE")
    moved = (await world.mappings.UpdateMapping(change(["common_symbol"], common_symbol=" NEW "))).mapping
    assert (moved.active, moved.common_symbol) == (False, "NEW")
    assert await names(world) == ["NEW", "TWO"]
    refused = [
        (change(["common_symbol"], common_symbol="TWO"), "ALREADY_EXISTS"),
        (change(["common_symbol"], common_symbol=" "), "INVALID_ARGUMENT"),
        (change([]), "INVALID_ARGUMENT"),
        (change(["reason"]), "INVALID_ARGUMENT"),
        (change(["active"], etag=made.etag), "ETAG_MISMATCH"),
    ]
    for request, reason in refused:
        assert (await failure_of(world.mappings.UpdateMapping(request))).info.reason == reason


async def test_a_batch_is_all_or_none_and_names_each_entry_that_fails(world: World) -> None:
    await source(world, "alpha", *(equity(s) for s in "ABCD"))
    new = [("A", "ONE"), ("X", "TWO"), ("B", "THREE"), ("B", "FOUR"), ("C", "one"), ("D", " ")]
    request = pb.BatchCreateMappingsRequest(
        mappings=[pb.NewMapping(asset=key("alpha", s), common_symbol=c) for s, c in new[:5]]
    )
    failure = await failure_of(world.mappings.BatchCreateMappings(request))
    for field in ("mappings[1].asset.symbol", "mappings[3].asset", "mappings[4].common_symbol"):
        assert field in failure.everything()
    assert "mappings[0]." not in failure.everything()
    assert await names(world) == []
    del request.mappings[1:5]
    request.mappings.append(pb.NewMapping(asset=key("alpha", "B"), common_symbol="TWO", inactive=True))
    answer = await world.mappings.BatchCreateMappings(request)
    assert [(each.common_symbol, each.active) for each in answer.mappings] == [("ONE", True), ("TWO", False)]


async def test_symbols_can_be_swapped_in_one_batch(world: World) -> None:
    await source(world, "alpha", equity("A"), equity("B"))
    await create(world, "alpha", "A", "ONE")
    await create(world, "alpha", "B", "TWO")
    swap = [
        pb.UpdateMappingRequest(
            mapping=mapping_pb2.Mapping(asset=key("alpha", s), common_symbol=c),
            update_mask={"paths": ["common_symbol"]},
        )
        for s, c in (("A", "TWO"), ("B", "ONE"))
    ]
    await world.mappings.BatchUpdateMappings(pb.BatchUpdateMappingsRequest(requests=swap))
    assert await mapped(world) == {"alpha A": "TWO", "alpha B": "ONE"}
    doomed = [pb.DeleteMappingRequest(asset=key("alpha", s)) for s in "AB"]
    dry = await world.mappings.BatchDeleteMappings(pb.BatchDeleteMappingsRequest(requests=doomed, validate_only=True))
    assert (dry.deleted, list(dry.common_symbols_removed)) == (2, ["ONE", "TWO"])
    assert len(await mapped(world)) == 2
    await world.mappings.BatchDeleteMappings(pb.BatchDeleteMappingsRequest(requests=doomed))
    assert await names(world) == []


async def test_ten_thousand_mappings_in_one_call(world: World) -> None:
    await source(world, "alpha", *(equity(f"S{i}") for i in range(10_000)))
    new = [pb.NewMapping(asset=key("alpha", f"S{i}"), common_symbol=f"C{i}") for i in range(10_000)]
    answer = await world.mappings.BatchCreateMappings(pb.BatchCreateMappingsRequest(mappings=new))
    assert [each.common_symbol for each in answer.mappings] == [f"C{i}" for i in range(10_000)]
    assert await world.owner.fetchval("select count(*) from ops.events where kind = 'MappingCreated'") == 10_000


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


async def suggest(world: World, name: str = "alpha", **more: Any) -> Any:
    return await world.mappings.SuggestMappings(pb.SuggestMappingsRequest(source=provider(name), **more))


@pytest.mark.parametrize(
    ("left", "right", "total"),
    [
        (
            equity("AAPL.US", name="Apple", exchange="XNAS", primary_id=FIGI_A),
            equity("AAPL", name="Apple", exchange="XNAS", primary_id=FIGI_A),
            130.0,
        ),
        (pair("XBT/USD", "BTC", "USD"), pair("BTC-USD", "BTC", "USD"), 55.0),
        (equity("AAPL.US"), equity("AAPL"), 45.0),
        (equity("FOO", provider_id="42"), equity("BARXY", provider_id="42"), 50.0),
    ],
)
async def test_scores_of_suggestions(world: World, left: ProviderSymbol, right: ProviderSymbol, total: float) -> None:
    await source(world, "alpha", left)
    await source(world, "beta", right)
    (found,) = (await suggest(world)).suggestions
    assert found.score.total == pytest.approx(total)


async def test_suggestions_come_page_by_page_best_first_and_the_cursor_fits_its_query_only(world: World) -> None:
    await source(world, "alpha", equity("é/1"), equity("S2", name="two"), equity("S3"), equity("S4"))
    await source(world, "beta", equity("é/1"), equity("S2", name="two"), equity("S3"), equity("S4"))
    first = await suggest(world, page_size=3, include_total=True)
    assert (len(first.suggestions), first.total_size) == (3, 4)
    assert [each.source.key.symbol for each in first.suggestions] == ["S2", "S3", "S4"]
    second = await suggest(world, page_size=3, page_token=first.next_page_token, include_total=True)
    assert [each.source.key.symbol for each in second.suggestions] == ["é/1"]
    assert (second.next_page_token, second.total_size) == ("", 4)
    for more in ({"page_token": "nonsense"}, {"page_token": first.next_page_token, "search": "S"}):
        request = pb.SuggestMappingsRequest(source=provider("alpha"), **more)
        assert (await failure_of(world.mappings.SuggestMappings(request))).info.reason == "INVALID_CURSOR"


async def test_the_same_ticker_of_two_targets_makes_two_suggestions(world: World) -> None:
    for name in ("alpha", "beta", "gamma"):
        await source(world, name, equity("AAPL"))
    assert [each.target.key.source.name for each in (await suggest(world)).suggestions] == ["beta", "gamma"]
    assert len((await suggest(world, target=provider("gamma"))).suggestions) == 1


async def test_suggestions_keep_to_class_search_and_least_score(world: World) -> None:
    await source(world, "alpha", equity("AAPL", name="100% Apple"), pair("AAPL", "AAPL", "USD"), equity("B_C"))
    await source(world, "beta", equity("AAPL", name="Apple"), equity("B_C"), equity("BXC"))
    assert [each.source.key.symbol for each in (await suggest(world)).suggestions] == ["AAPL", "B_C"]
    assert len((await suggest(world, search="%")).suggestions) == 1
    assert [each.source.key.symbol for each in (await suggest(world, search="b_c")).suggestions] == ["B_C"]
    assert not (await suggest(world, asset_classes=[CRYPTO])).suggestions
    assert not (await suggest(world, min_score=100)).suggestions


async def test_applied_suggestions_map_both_sides_and_a_conflict_is_told_before(world: World) -> None:
    await source(world, "alpha", equity("AAPL.US"), equity("AAPL.DE"))
    await source(world, "beta", equity("AAPL"))
    await create(world, "alpha", "AAPL.DE", "AAPL")
    (found,) = (await suggest(world)).suggestions
    assert found.conflict == "alpha already maps AAPL.DE to AAPL"
    await world.mappings.DeleteMapping(pb.DeleteMappingRequest(asset=key("alpha", "AAPL.DE")))
    chosen = pb.AppliedSuggestion(source=key("alpha", "AAPL.US"), target=key("beta", "AAPL"))
    answer = await world.mappings.ApplySuggestions(pb.ApplySuggestionsRequest(suggestions=[chosen]))
    assert [(each.asset.source.name, each.common_symbol, each.origin) for each in answer.mappings] == [
        ("alpha", "AAPL", mapping_pb2.MAPPING_ORIGIN_SUGGESTED),
        ("beta", "AAPL", mapping_pb2.MAPPING_ORIGIN_SUGGESTED),
    ]
    chosen = pb.AppliedSuggestion(source=key("alpha", "AAPL.DE"), target=key("beta", "AAPL"), common_symbol="OTHER")
    failure = await failure_of(world.mappings.ApplySuggestions(pb.ApplySuggestionsRequest(suggestions=[chosen])))
    assert failure.code == grpc.StatusCode.FAILED_PRECONDITION
    assert "suggestions[0].target" in failure.everything()


async def test_automated_mapping_names_identities_alike_on_every_source(world: World) -> None:
    await source(world, "alpha", equity("AAPL.US", primary_id=FIGI_A), equity("NOBODY"))
    await source(world, "beta", equity("AAPL", primary_id=FIGI_A), equity("MSFT", primary_id=FIGI_B))
    result = await generate(world)
    assert (result.created, result.skipped, result.common_symbols_created) == (3, 1, 2)
    assert await mapped(world) == {"alpha AAPL.US": "AAPL", "beta AAPL": "AAPL", "beta MSFT": "MSFT"}
    again = await generate(world)
    assert (again.created, again.unchanged) == (0, 3)


async def test_a_dry_run_of_automated_mapping_stores_nothing(world: World) -> None:
    await source(world, "alpha", equity("AAPL", primary_id=FIGI_A))
    result = await generate(world, source=provider("alpha"), dry_run=True)
    assert (result.created, result.dry_run, result.changes[0].after) == (1, True, "AAPL")
    assert await mapped(world) == {}


async def test_the_preferred_quote_currency_of_a_source_decides(world: World) -> None:
    await world.add_code("alpha", preferences={"crypto": {"preferred_quote_currency": "EUR"}})
    await import_bitcoin(world)
    for name in ("alpha", "beta"):
        await source(world, name, pair("BTC/USD", "BTC", "USD"), pair("BTC/EUR", "BTC", "EUR"))
        await world.sync(name, skip_mapping=True)
    await generate(world)
    assert await mapped(world) == {"alpha BTC/EUR": "BTC", "beta BTC/USD": "BTC"}


async def test_a_remap_keeps_user_indices_their_members_and_their_history(world: World) -> None:
    await source(world, "alpha", equity("AAPL", primary_id=FIGI_A), equity("MSFT", primary_id=FIGI_B))
    await generate(world)
    await index(world, "mine", AAPL=0.6, MSFT=0.4)
    save = index_service_pb2.SetIndexMembersRequest(index="mine", members=[{"common_symbol": "AAPL", "weight": 1.0}])
    await world.indices.SetIndexMembers(save)
    periods = await world.owner.fetch("select * from registry.index_memberships order by membership_id")
    plan = await remap(world)
    assert plan.unchanged == 2
    assert await world.owner.fetch("select * from registry.index_memberships order by membership_id") == periods
    assert await members(world, "mine") == [("AAPL", 1.0)]


async def test_a_remap_corrects_a_wrong_name_and_shows_which_indices_lose_a_mapping(world: World) -> None:
    await source(world, "alpha", equity("AAPL", primary_id=FIGI_A))
    await generate(world)
    await world.mappings.RenameCommonSymbol(pb.RenameCommonSymbolRequest(symbol="AAPL", new_symbol="WRONGNAME"))
    await index(world, "mine", WRONGNAME=1.0)
    preview = await world.mappings.PreviewRemap(pb.PreviewRemapRequest(scope={"everything": True}))
    (affected,) = preview.plan.affected_indices
    assert (affected.index, list(affected.unmapped_members)) == ("mine", ["WRONGNAME"])
    plan = await remap(world)
    assert (plan.changed, await mapped(world)) == (1, {"alpha AAPL": "AAPL"})
    assert await members(world, "mine") == [("WRONGNAME", 1.0)]
    assert "WRONGNAME" in await names(world)


async def test_a_remap_keeps_manual_mappings_and_active_flags(world: World) -> None:
    await source(world, "alpha", equity("AAPL", primary_id=FIGI_A), equity("PRIVATE"))
    await generate(world)
    await create(world, "alpha", "PRIVATE", "MINE")
    await world.owner.execute("update registry.asset_mapping set active = false where origin = 'AUTOMATIC'")
    plan = await remap(world)
    assert (plan.kept_manual, plan.automatic_mappings) == (1, 1)
    rows = await world.mappings.ListMappings(pb.ListMappingsRequest(order_by="common_symbol"))
    assert [(each.common_symbol, each.active) for each in rows.mappings] == [("AAPL", False), ("MINE", True)]


async def test_a_remap_covers_what_its_scope_names_and_nothing_else(world: World) -> None:
    await source(world, "alpha", equity("AAPL", primary_id=FIGI_A), pair("XYZ", "XYZ", "USD", primary_id=FIGI_C))
    await source(world, "beta", equity("MSFT", primary_id=FIGI_B))
    await generate(world)
    for old in ("AAPL", "MSFT", "XYZ"):
        await world.mappings.RenameCommonSymbol(pb.RenameCommonSymbolRequest(symbol=old, new_symbol=f"WRONG_{old}"))
    await world.add_code("desk", kind="broker")
    plan = await remap(world, kinds=[2])
    assert (plan.automatic_mappings, plan.changed) == (0, 0)
    plan = await remap(world, sources=[provider("alpha")], asset_classes=[EQUITY])
    assert plan.changed == 1
    assert await mapped(world) == {"alpha AAPL": "AAPL", "alpha XYZ": "WRONG_XYZ", "beta MSFT": "WRONG_MSFT"}
    plan = await remap(world, kinds=[1], common_symbols=["wrong_msft"])
    assert plan.changed == 1
    assert (await mapped(world))["beta MSFT"] == "MSFT"


async def test_a_scope_that_names_nothing_is_refused(world: World) -> None:
    for scope in ({}, {"asset_classes": [EQUITY]}, {"everything": True, "kinds": [1]}):
        request = pb.PreviewRemapRequest(scope=scope)
        assert (await failure_of(world.mappings.PreviewRemap(request))).info.reason == "INVALID_ARGUMENT"
    request = pb.PreviewRemapRequest(scope={"sources": [provider("nobody")]})
    assert (await failure_of(world.mappings.PreviewRemap(request))).info.reason == "NOT_FOUND"


async def test_a_remap_does_the_plan_that_was_shown_or_nothing(world: World) -> None:
    await source(world, "alpha", equity("AAPL", primary_id=FIGI_A))
    await generate(world)
    preview = await world.mappings.PreviewRemap(pb.PreviewRemapRequest(scope={"everything": True}))
    await world.mappings.RenameCommonSymbol(pb.RenameCommonSymbolRequest(symbol="AAPL", new_symbol="OTHER"))
    request = pb.RemapRequest(scope={"everything": True}, plan_etag=preview.plan.plan_etag)
    assert (await failure_of(world.mappings.Remap(request))).info.reason == "ETAG_MISMATCH"
    again = await world.mappings.PreviewRemap(pb.PreviewRemapRequest(scope={"everything": True}))
    request.plan_etag = again.plan.plan_etag
    result = await world.result(await world.mappings.Remap(request), mapping_pb2.RemapResult)
    assert result.plan.changed == again.plan.changed == 1


async def test_lists_of_mappings_and_common_symbols(world: World) -> None:
    await source(world, "alpha", equity("A", primary_id=FIGI_A), equity("B"))
    await source(world, "beta", equity("A", primary_id=FIGI_A))
    for name, symbol, to in (("alpha", "A", "AA"), ("beta", "A", "AA"), ("alpha", "B", "BB")):
        await create(world, name, symbol, to)
    await index(world, "mine", BB=1.0)
    listed = await world.mappings.ListCommonSymbols(pb.ListCommonSymbolsRequest(order_by="mapping_count desc"))
    first, second = listed.common_symbols
    assert (first.symbol, first.mapping_count, first.identity_id, first.asset_class) == ("AA", 2, FIGI_A, EQUITY)
    assert (second.symbol, second.index_count) == ("BB", 1)
    for text, found in (
        ("mapping_count > 1", ["AA"]),
        ('index = "mine"', ["BB"]),
        ('symbol:"b"', ["BB"]),
        (f'identity_id = "{FIGI_A}"', ["AA"]),
        ("explicit = true", []),
    ):
        answer = await world.mappings.ListCommonSymbols(pb.ListCommonSymbolsRequest(filter=text))
        assert [each.symbol for each in answer.common_symbols] == found, text
    rows = await world.mappings.ListMappings(pb.ListMappingsRequest(filter='source.name = "alpha" AND origin = MANUAL'))
    assert [each.common_symbol for each in rows.mappings] == ["AA", "BB"]
    found = await common(world, "BB")
    assert [(each.index, each.weight) for each in found.memberships] == [("mine", 1.0)]
    one = await world.mappings.GetMapping(pb.GetMappingRequest(asset=key("beta", "A")))
    assert one.mapping.common_symbol == "AA"
    assert (await failure_of(world.mappings.GetMapping(pb.GetMappingRequest(asset=key("beta", "Z"))))).code == (
        grpc.StatusCode.NOT_FOUND
    )


async def test_a_common_symbol_is_resolved_to_its_identity(world: World) -> None:
    await source(world, "alpha", equity("A", primary_id=FIGI_A))
    await create(world, "alpha", "A", "AA")
    answer = await world.assets.ResolveIdentity(asset_service_pb2.ResolveIdentityRequest(common_symbol="aa"))
    assert not answer.matches


async def import_bitcoin(world: World) -> None:
    content = b"figi,symbol,class\nKKG00000DV14,BTC;XBT,crypto\n"
    request = asset_service_pb2.ImportIdentitiesRequest(name="crypto", content=content, file_name="c.csv")
    await world.done(await world.assets.ImportIdentities(request))


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
