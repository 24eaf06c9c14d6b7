from __future__ import annotations

from typing import Any

import grpc

from quasar_proto.registry.v1 import mapping_pb2
from quasar_proto.registry.v1 import mapping_service_pb2 as pb
from tests.integration.registry.instruments.mapping_calls import (
    EQUITY,
    FIGI_A,
    common,
    create,
    equity,
    index,
    mapped,
    names,
    source,
)
from tests.integration.registry.instruments.world import World, key
from tests.integration.rpc.harness import failure_of


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
    told = await world.events("MappingsUpdated") + await world.events("MappingsDeleted")
    assert [event["data"] for event in told] == [{"updated": 2}, {"deleted": 2, "common_symbols_removed": 2}]


async def test_ten_thousand_mappings_in_one_call(world: World) -> None:
    await source(world, "alpha", *(equity(f"S{i}") for i in range(10_000)))
    new = [pb.NewMapping(asset=key("alpha", f"S{i}"), common_symbol=f"C{i}") for i in range(10_000)]
    answer = await world.mappings.BatchCreateMappings(pb.BatchCreateMappingsRequest(mappings=new))
    assert [each.common_symbol for each in answer.mappings] == [f"C{i}" for i in range(10_000)]
    assert await world.owner.fetchval("select count(*) from ops.events where kind = 'MappingCreated'") == 10_000
    assert [event["data"] for event in await world.events("MappingsCreated")] == [{"created": 10_000}]


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
