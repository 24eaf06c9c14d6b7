from __future__ import annotations

from quasar_proto.registry.v1 import asset_service_pb2, index_service_pb2, mapping_pb2
from quasar_proto.registry.v1 import mapping_service_pb2 as pb
from tests.integration.registry.instruments.mapping_calls import (
    EQUITY,
    FIGI_A,
    FIGI_B,
    FIGI_C,
    create,
    equity,
    generate,
    index,
    mapped,
    members,
    names,
    pair,
    remap,
    source,
)
from tests.integration.registry.instruments.world import World, provider
from tests.integration.rpc.harness import failure_of


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


async def test_a_repeated_remap_of_a_shown_plan_is_the_first_one(world: World) -> None:
    await source(world, "alpha", equity("AAPL", primary_id=FIGI_A))
    await generate(world)
    await world.mappings.RenameCommonSymbol(pb.RenameCommonSymbolRequest(symbol="AAPL", new_symbol="OTHER"))
    preview = await world.mappings.PreviewRemap(pb.PreviewRemapRequest(scope={"everything": True}))
    request = pb.RemapRequest(scope={"everything": True}, plan_etag=preview.plan.plan_etag, request_id="once")

    first = await world.mappings.Remap(request)
    result = await world.result(first, mapping_pb2.RemapResult)
    again = await world.mappings.Remap(request)

    assert result.plan.changed == 1
    assert again.operation.operation_id == first.operation.operation_id
    assert len(await world.events("MappingsRemapped")) == 1


async def import_bitcoin(world: World) -> None:
    content = b"figi,symbol,class\nKKG00000DV14,BTC;XBT,crypto\n"
    request = asset_service_pb2.ImportIdentitiesRequest(name="crypto", content=content, file_name="c.csv")
    await world.done(await world.assets.ImportIdentities(request))
