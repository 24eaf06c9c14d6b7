from __future__ import annotations

import asyncio
import random
from typing import Any

import grpc

from quasar_proto.datahub.v1.provider_pb2 import ProviderSymbol
from quasar_proto.registry.v1 import asset_pb2, mapping_pb2
from quasar_proto.registry.v1 import asset_service_pb2 as assets_pb
from quasar_proto.registry.v1 import index_service_pb2 as indices_pb
from quasar_proto.registry.v1 import mapping_service_pb2 as mappings_pb
from tests.integration.registry.instruments.world import World, key, provider

CLIENTS, CALLS, ASSETS, SYMBOLS = 100, 8, 60, 40
MAY_FAIL = {
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.INVALID_ARGUMENT,
}
"""What clients that get in each other's way are told; anything else is a defect."""

ORPHANS = """
select s.symbol from registry.common_symbols s
where not s.explicit
    and not exists (select from registry.asset_mapping m where m.common_symbol_id = s.common_symbol_id)
    and not exists (select from registry.index_memberships i where i.common_symbol_id = s.common_symbol_id)
"""
STRAY = (
    "select m.mapping_id from registry.asset_mapping m "
    "left join registry.assets a using (asset_id) where a.asset_id is null"
)
TWICE = """
select index_id, common_symbol_id from registry.index_memberships
where valid_to = 'infinity' group by 1, 2 having count(*) > 1
"""
UNNAMED = "select code_id from registry.asset_mapping group by code_id, common_symbol_id having count(*) > 1"


async def test_a_hundred_clients_that_read_and_write_leave_the_invariants_true(world: World) -> None:
    for name in ("alpha", "beta"):
        await world.add_code(name)
        world.vendors[name].symbols = [ProviderSymbol(symbol=f"S{i}", asset_class=1) for i in range(ASSETS)]
        await world.sync(name, skip_matching=True, skip_mapping=True)
    await world.indices.CreateIndex(indices_pb.CreateIndexRequest(name="mine"))
    strange: list[grpc.aio.AioRpcError] = []

    async def client(number: int) -> None:
        chance = random.Random(number)
        for _ in range(CALLS):
            try:
                await call(world, chance)
            except grpc.aio.AioRpcError as error:
                if error.code() not in MAY_FAIL:
                    strange.append(error)

    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(client(number))
    assert strange == []
    for question in (ORPHANS, STRAY, TWICE, UNNAMED):
        assert await world.owner.fetch(question) == []
    assert await world.owner.fetchval("select count(*) from registry.asset_mapping") > 0
    assert await world.owner.fetchval("select count(*) from registry.assets") == 2 * ASSETS


async def call(world: World, chance: random.Random) -> Any:
    asset = key(chance.choice(("alpha", "beta")), f"S{chance.randrange(ASSETS)}")
    symbol = f"C{chance.randrange(SYMBOLS)}"
    new = mappings_pb.NewMapping(asset=asset, common_symbol=symbol)
    update = mappings_pb.UpdateMappingRequest(
        mapping=mapping_pb2.Mapping(asset=asset, common_symbol=symbol), update_mask={"paths": ["common_symbol"]}
    )
    save = indices_pb.SetIndexMembersRequest(
        index="mine", members=[{"common_symbol": symbol, "weight": chance.random() + 0.1}], allow_empty=True
    )
    edit = assets_pb.UpdateAssetRequest(
        asset=asset_pb2.Asset(key=asset, name=f"N{chance.random()}"), update_mask={"paths": ["name"]}
    )
    rename = mappings_pb.RenameCommonSymbolRequest(symbol=symbol, new_symbol=f"C{chance.randrange(SYMBOLS)}")
    choices = [
        lambda: world.mappings.CreateMapping(mappings_pb.CreateMappingRequest(mapping=new)),
        lambda: world.mappings.CreateMapping(mappings_pb.CreateMappingRequest(mapping=new)),
        lambda: world.mappings.UpdateMapping(update),
        lambda: world.mappings.DeleteMapping(mappings_pb.DeleteMappingRequest(asset=asset)),
        lambda: world.mappings.RenameCommonSymbol(rename),
        lambda: world.mappings.DeleteCommonSymbol(mappings_pb.DeleteCommonSymbolRequest(symbol=symbol, force=True)),
        lambda: world.indices.SetIndexMembers(save),
        lambda: world.assets.UpdateAsset(edit),
        lambda: world.assets.ListAssets(assets_pb.ListAssetsRequest(page_size=20, filter="mapped = true")),
        lambda: world.mappings.ListCommonSymbols(mappings_pb.ListCommonSymbolsRequest(page_size=20)),
        lambda: world.assets.SyncAssets(assets_pb.SyncAssetsRequest(source=provider("alpha"))),
    ]
    return await chance.choice(choices)()
