"""Calls of the service of mappings, and symbols of sources."""

from __future__ import annotations

from typing import Any

from quasar_proto.datahub.v1.provider_pb2 import ProviderSymbol
from quasar_proto.registry.v1 import index_service_pb2, mapping_pb2
from quasar_proto.registry.v1 import mapping_service_pb2 as pb
from tests.integration.registry.instruments.world import World, key

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
