"""Calls of the service of indices, and what their providers say."""

from __future__ import annotations

import datetime as dt
from typing import Any

from quasar_proto.datahub.v1.provider_pb2 import Constituent
from quasar_proto.registry.v1 import index_service_pb2 as pb
from tests.integration.registry.instruments.world import World


def new(**weights: float | None) -> list[pb.NewIndexMember]:
    return [pb.NewIndexMember(common_symbol=name, weight=weight) for name, weight in weights.items()]


async def create(world: World, name: str, **weights: float | None) -> Any:
    return (await world.indices.CreateIndex(pb.CreateIndexRequest(name=name, members=new(**weights)))).index


async def members(world: World, name: str, as_of: dt.datetime | None = None, **query: Any) -> dict[str, float | None]:
    request = pb.ListIndexMembersRequest(index=name, **query)
    if as_of is not None:
        request.as_of.FromDatetime(as_of)
    answer = await world.indices.ListIndexMembers(request)
    return {m.common_symbol or m.asset.symbol: m.weight if m.HasField("weight") else None for m in answer.members}


async def get(world: World, name: str) -> Any:
    return (await world.indices.GetIndex(pb.GetIndexRequest(name=name))).index


def says(world: World, name: str, **weights: float | None) -> None:
    world.vendors[name].constituents[name] = [
        Constituent(symbol=symbol, weight=weight, name=f"The {symbol}", asset_class=15)
        for symbol, weight in weights.items()
    ]


async def provider_index(world: World, name: str = "cci", **weights: float | None) -> None:
    await world.add_code(name, capabilities=["INDEX"])
    says(world, name, **weights)


async def periods(world: World) -> int:
    return int(await world.owner.fetchval("select count(*) from registry.index_memberships"))
