"""Every change of assets, identities, mappings and indices is an event: who, what, before, after."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from quasar_proto.datahub.v1.provider_pb2 import Constituent, ProviderSymbol
from quasar_proto.registry.v1 import asset_pb2, mapping_pb2
from quasar_proto.registry.v1 import asset_service_pb2 as assets
from quasar_proto.registry.v1 import index_service_pb2 as indices
from quasar_proto.registry.v1 import mapping_service_pb2 as mappings
from tests.integration.registry.changes import INSTRUMENTS, check
from tests.integration.registry.instruments.identity_calls import HEADER, LONDON, NEW_YORK
from tests.integration.registry.instruments.world import World, key, provider

_SYMBOLS = ("ABC", "DEF", "GHI")
Step = Callable[[], Awaitable[Any]]


async def test_changes_of_instruments_write_events(world: World) -> None:
    for name in ("alpha", "beta"):
        await world.add_code(name)
        world.vendors[name].symbols = [ProviderSymbol(symbol=symbol, asset_class=1) for symbol in _SYMBOLS]
        await world.sync(name, skip_matching=True, skip_mapping=True)
    await world.add_code("cci", capabilities=["INDEX"])
    world.vendors["cci"].constituents["cci"] = [Constituent(symbol="BTC", weight=1.0, asset_class=15)]
    steps = {**_identities(world), **_mappings(world), **_indices(world)}
    assert set(steps) == set(INSTRUMENTS)
    for method, step in steps.items():
        last = await world.owner.fetchval("select coalesce(max(id), 0) from ops.events")
        answer = await step()
        if answer.DESCRIPTOR.fields_by_name.get("operation") is not None:
            assert (await world.done(answer)).error.message == "", method
        events = await world.owner.fetch(
            "select * from ops.events where id > $1 and actor <> '' and kind not like 'Operation%' order by id", last
        )
        check(method, INSTRUMENTS[method], events, "operator")


def _identities(world: World) -> dict[str, Step]:
    call = world.assets
    content = (HEADER + LONDON + NEW_YORK).encode()
    renamed = asset_pb2.Asset(key=key("beta", "GHI"), name="By hand")

    async def proposal(source: str) -> str:
        request = assets.ListMatchProposalsRequest(filter=f'source.name = "{source}"')
        (found,) = (await call.ListMatchProposals(request)).proposals
        return str(found.proposal_id)

    async def reject() -> Any:
        return await call.RejectMatch(assets.RejectMatchRequest(proposal_id=await proposal("beta"), reason="no"))

    async def accept() -> Any:
        return await call.AcceptMatch(
            assets.AcceptMatchRequest(proposal_id=await proposal("alpha"), identity_id="BBG000BXNJ07")
        )

    async def decide() -> Any:
        await world.add_code("gamma")
        world.vendors["gamma"].symbols = [ProviderSymbol(symbol="ABC", asset_class=1)]
        await world.sync("gamma", skip_mapping=True)
        decision = {"proposal_id": await proposal("gamma"), "accept": True, "identity_id": "BBG000BXNJ07"}
        return await call.BatchDecideMatches(assets.BatchDecideMatchesRequest(decisions=[decision]))

    return {
        "SyncAssets": lambda: call.SyncAssets(
            assets.SyncAssetsRequest(source=provider("alpha"), skip_matching=True, skip_mapping=True)
        ),
        "UpdateAsset": lambda: call.UpdateAsset(
            assets.UpdateAssetRequest(asset=renamed, update_mask={"paths": ["name"]})
        ),
        "ImportIdentities": lambda: call.ImportIdentities(
            assets.ImportIdentitiesRequest(name="list", content=content, file_name="list.csv")
        ),
        "MatchAssets": lambda: call.MatchAssets(assets.MatchAssetsRequest()),
        "RejectMatch": reject,
        "AcceptMatch": accept,
        "BatchDecideMatches": decide,
    }


def _mappings(world: World) -> dict[str, Step]:
    call = world.mappings

    def new(source: str, symbol: str, common: str) -> mappings.NewMapping:
        return mappings.NewMapping(asset=key(source, symbol), common_symbol=common)

    def moved(common: str) -> mappings.UpdateMappingRequest:
        changed = mapping_pb2.Mapping(asset=key("alpha", "DEF"), common_symbol=common)
        return mappings.UpdateMappingRequest(mapping=changed, update_mask={"paths": ["common_symbol"]})

    gone = mappings.DeleteMappingRequest(asset=key("alpha", "DEF"))
    scope = mapping_pb2.RemapScope(everything=True)
    return {
        "CreateCommonSymbol": lambda: call.CreateCommonSymbol(mappings.CreateCommonSymbolRequest(symbol="ONE")),
        "RenameCommonSymbol": lambda: call.RenameCommonSymbol(
            mappings.RenameCommonSymbolRequest(symbol="ONE", new_symbol="TWO")
        ),
        "CreateMapping": lambda: call.CreateMapping(mappings.CreateMappingRequest(mapping=new("alpha", "DEF", "TWO"))),
        "UpdateMapping": lambda: call.UpdateMapping(moved("THREE")),
        "BatchUpdateMappings": lambda: call.BatchUpdateMappings(
            mappings.BatchUpdateMappingsRequest(requests=[moved("FOUR")])
        ),
        "DeleteMapping": lambda: call.DeleteMapping(gone),
        "BatchCreateMappings": lambda: call.BatchCreateMappings(
            mappings.BatchCreateMappingsRequest(mappings=[new("alpha", "DEF", "FIVE")])
        ),
        "BatchDeleteMappings": lambda: call.BatchDeleteMappings(mappings.BatchDeleteMappingsRequest(requests=[gone])),
        "DeleteCommonSymbol": lambda: call.DeleteCommonSymbol(
            mappings.DeleteCommonSymbolRequest(symbol="TWO", force=True)
        ),
        "ApplySuggestions": lambda: call.ApplySuggestions(
            mappings.ApplySuggestionsRequest(
                suggestions=[
                    {
                        "source": key("alpha", "GHI"),
                        "target": key("beta", "GHI"),
                        "common_symbol": "GHI",
                    }
                ]
            )
        ),
        "GenerateMappings": lambda: call.GenerateMappings(mappings.GenerateMappingsRequest(all_sources=True)),
        "Remap": lambda: call.Remap(mappings.RemapRequest(scope=scope)),
    }


def _indices(world: World) -> dict[str, Step]:
    call = world.indices
    members = [indices.NewIndexMember(common_symbol="GHI", weight=1.0)]
    return {
        "CreateIndex": lambda: call.CreateIndex(indices.CreateIndexRequest(name="mine")),
        "SetIndexMembers": lambda: call.SetIndexMembers(indices.SetIndexMembersRequest(index="mine", members=members)),
        "UpdateIndex": lambda: call.UpdateIndex(
            indices.UpdateIndexRequest(name="mine", index={"name": "ours"}, update_mask={"paths": ["name"]})
        ),
        "DeleteIndex": lambda: call.DeleteIndex(indices.DeleteIndexRequest(name="ours")),
        "SyncIndex": lambda: call.SyncIndex(indices.SyncIndexRequest(index="cci")),
    }
