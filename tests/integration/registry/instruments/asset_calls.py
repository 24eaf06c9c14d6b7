"""Calls of the service of assets."""

from __future__ import annotations

from typing import Any

from quasar_proto.datahub.v1.provider_pb2 import ProviderSymbol
from quasar_proto.registry.v1 import asset_service_pb2 as pb
from tests.integration.registry.instruments.world import World, key

EQUITY, CRYPTO, ETF = 1, 15, 3


async def symbols(world: World, name: str, *told: ProviderSymbol) -> Any:
    world.vendors[name].symbols = list(told)
    return await world.sync(name)


async def listed(world: World, **query: Any) -> list[Any]:
    return list((await world.assets.ListAssets(pb.ListAssetsRequest(**query))).assets)


async def get(world: World, name: str, symbol: str) -> Any:
    return (await world.assets.GetAsset(pb.GetAssetRequest(key=key(name, symbol)))).asset
