from __future__ import annotations

import datetime as dt

import grpc

from quasar_proto.registry.v1 import asset_pb2
from quasar_proto.registry.v1 import asset_service_pb2 as pb
from tests.integration.registry.instruments.identity_calls import (
    AAPL,
    BITCOIN,
    LONDON,
    MSFT,
    NEW_YORK,
    equity,
    identity_of,
    import_,
    match,
    told,
)
from tests.integration.registry.instruments.world import World, key, utc
from tests.integration.rpc.harness import failure_of


async def test_a_symbol_stands_for_what_it_stood_for_on_the_day(world: World) -> None:
    await import_(
        world,
        "BBG000BXNJ07,FB,Facebook Inc,XNAS,equity,USD,US,2012-05-18,2022-06-09\n",
        "BBG000BXNJ07,META,Meta Platforms,XNAS,equity,USD,US,2022-06-09,\n",
        "BBG000BLNNH6,FB,Fresh Bread ETF,XNAS,equity,USD,US,2025-01-02,\n",
    )

    async def resolved(symbol: str, *day: int) -> list[str]:
        request = pb.ResolveIdentityRequest(symbol={"symbol": symbol})
        request.as_of.FromDatetime(utc(*day))
        answer = await world.assets.ResolveIdentity(request)
        return [each.identity.identity_id for each in answer.matches]

    assert await resolved("fb", 2020, 1, 1) == ["BBG000BXNJ07"]
    assert await resolved("fb", 2022, 6, 9) == []
    assert await resolved("meta", 2022, 6, 9) == ["BBG000BXNJ07"]
    assert await resolved("fb", 2025, 1, 2) == ["BBG000BLNNH6"]
    known = await world.assets.GetIdentity(pb.GetIdentityRequest(identity_id="bbg000bxnj07"))
    assert [period.symbol for period in known.periods] == ["META", "FB"]
    assert known.identity.symbol == "META"


async def test_several_listings_of_a_symbol_are_flagged_and_an_exchange_decides(world: World) -> None:
    await import_(world, LONDON, NEW_YORK)
    answer = await world.assets.ResolveIdentity(pb.ResolveIdentityRequest(symbol={"symbol": "abc"}))
    assert answer.ambiguous
    assert len(answer.matches) == 2
    request = pb.ResolveIdentityRequest(symbol={"symbol": "abc", "exchange": "XNYS"})
    answer = await world.assets.ResolveIdentity(request)
    assert not answer.ambiguous
    assert answer.matches[0].identity.identity_id == "BBG000BLNNH6"


async def test_numbers_assets_and_nothing_are_looked_up(world: World) -> None:
    await import_(world, AAPL)
    await told(world, "alpha", equity("AAPL", exchange="XNAS"), equity("NOTHING"))
    await match(world)
    for request in (
        pb.ResolveIdentityRequest(figi="BBG000B9XRY4"),
        pb.ResolveIdentityRequest(asset=key("alpha", "AAPL")),
    ):
        answer = await world.assets.ResolveIdentity(request)
        assert [each.identity.symbol for each in answer.matches] == ["AAPL"]
    empty = await world.assets.ResolveIdentity(pb.ResolveIdentityRequest(asset=key("alpha", "NOTHING")))
    assert not empty.matches
    failure = await failure_of(world.assets.ResolveIdentity(pb.ResolveIdentityRequest(asset=key("alpha", "X"))))
    assert failure.code == grpc.StatusCode.NOT_FOUND
    failure = await failure_of(world.assets.ResolveIdentity(pb.ResolveIdentityRequest(common_symbol="X")))
    assert failure.code == grpc.StatusCode.NOT_FOUND


async def test_a_manual_identity_is_kept_and_taken_away_by_hand(world: World) -> None:
    await import_(world, AAPL, MSFT)
    await told(world, "alpha", equity("AAPL", exchange="XNAS"))
    changed = asset_pb2.Asset(key=key("alpha", "AAPL"), identity={"identity_id": "BBG000BPH459"})
    request = pb.UpdateAssetRequest(asset=changed, update_mask={"paths": ["identity.identity_id"]})
    answer = await world.assets.UpdateAsset(request)
    assert answer.asset.identity.origin == asset_pb2.IDENTITY_ORIGIN_MANUAL
    await match(world, rematch=True)
    assert await identity_of(world, "AAPL") == "BBG000BPH459"
    changed.identity.identity_id = ""
    await world.assets.UpdateAsset(pb.UpdateAssetRequest(asset=changed, update_mask=request.update_mask))
    await match(world)
    assert await identity_of(world, "AAPL") == ""
    release = pb.UpdateAssetRequest(asset=changed, release_mask={"paths": ["identity_id"]})
    await world.assets.UpdateAsset(release)
    await match(world)
    assert await identity_of(world, "AAPL") == "BBG000B9XRY4"


async def test_an_identity_of_another_group_is_refused(world: World) -> None:
    await import_(world, BITCOIN)
    await told(world, "alpha", equity("AAPL"))
    changed = asset_pb2.Asset(key=key("alpha", "AAPL"), identity={"identity_id": "KKG00000DV14"})
    request = pb.UpdateAssetRequest(asset=changed, update_mask={"paths": ["identity.identity_id"]})
    assert (await failure_of(world.assets.UpdateAsset(request))).info.reason == "INVALID_ARGUMENT"


async def test_lists_of_identities_filter_by_alias_and_by_day(world: World) -> None:
    await import_(world, BITCOIN, "BBG000BXNJ07,OLD,Old Corp,XNYS,equity,USD,US,,2020-01-01\n")
    page = await world.assets.ListIdentities(pb.ListIdentitiesRequest(filter='symbol = "xbt"'))
    assert [each.symbol for each in page.identities] == ["BTC"]
    request = pb.ListIdentitiesRequest(order_by="name desc")
    request.as_of.FromDatetime(utc(2021, 1, 1))
    assert [each.symbol for each in (await world.assets.ListIdentities(request)).identities] == ["BTC"]
    old = (await world.assets.ListIdentities(pb.ListIdentitiesRequest(filter='symbol = "OLD"'))).identities[0]
    assert old.valid_to.ToDatetime(tzinfo=dt.UTC) == utc(2020, 1, 1)
    assert not old.HasField("valid_from")
