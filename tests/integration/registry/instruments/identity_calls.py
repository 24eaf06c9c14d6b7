"""Calls of the service of identities, and rows of manifests."""

from __future__ import annotations

from typing import Any

from quasar_proto.datahub.v1.provider_pb2 import ProviderSymbol
from quasar_proto.registry.v1 import asset_pb2
from quasar_proto.registry.v1 import asset_service_pb2 as pb
from tests.integration.registry.instruments.world import World, key

EQUITY, CRYPTO, CURRENCY = 1, 15, 14
HEADER = "figi,symbol,name,mic,class,currency,country,valid_from,valid_to\n"
AAPL = "BBG000B9XRY4,AAPL,Apple Inc.,XNAS,equity,USD,US,,\n"
MSFT = "BBG000BPH459,MSFT,Microsoft Corp,XNAS,equity,USD,US,,\n"
LONDON = "BBG000BXNJ07,ABC,Alpha Beta Corp,XLON,equity,GBP,GB,,\n"
NEW_YORK = "BBG000BLNNH6,ABC,Another Business Co,XNYS,equity,USD,US,,\n"
BITCOIN = "KKG00000DV14,BTC;XBT,Bitcoin,,crypto,,,,\n"


async def import_(world: World, *lines: str, name: str = "list", **options: Any) -> Any:
    content = (HEADER + "".join(lines)).encode()
    request = pb.ImportIdentitiesRequest(name=name, content=content, file_name="list.csv", **options)
    return await world.result(await world.assets.ImportIdentities(request), asset_pb2.ImportIdentitiesResult)


async def match(world: World, **options: Any) -> Any:
    answer = await world.assets.MatchAssets(pb.MatchAssetsRequest(**options))
    return await world.result(answer, asset_pb2.MatchReport)


async def told(world: World, name: str, *symbols: ProviderSymbol, **options: Any) -> Any:
    if name not in world.vendors:
        await world.add_code(name)
    world.vendors[name].symbols = list(symbols)
    return await world.sync(name, **{"skip_matching": True, "skip_mapping": True, **options})


def equity(symbol: str, **more: Any) -> ProviderSymbol:
    return ProviderSymbol(symbol=symbol, asset_class=EQUITY, **more)  # enum values are integers


async def get(world: World, symbol: str, name: str = "alpha") -> Any:
    return await world.assets.GetAsset(pb.GetAssetRequest(key=key(name, symbol)))


async def identity_of(world: World, symbol: str, name: str = "alpha") -> str:
    return str((await get(world, symbol, name)).asset.identity.identity_id)
