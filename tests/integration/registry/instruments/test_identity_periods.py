"""What is withdrawn, renamed or reused is told apart from what holds."""

from __future__ import annotations

from quasar_proto.registry.v1 import asset_service_pb2 as pb
from tests.integration.registry.instruments.identity_calls import AAPL, equity, import_, match, told
from tests.integration.registry.instruments.world import World, key, utc


async def resolved(world: World, year: int) -> list[str]:
    """Return what an asset stood for at the start of a year."""
    request = pb.ResolveIdentityRequest(asset=key("alpha", "FB"))
    request.as_of.FromDatetime(utc(year, 1, 1))
    return [each.identity.identity_id for each in (await world.assets.ResolveIdentity(request)).matches]


async def test_an_identity_shows_the_row_in_use_and_not_the_one_that_was_withdrawn(world: World) -> None:
    await import_(world, AAPL)
    await import_(world, AAPL.replace(",AAPL,", ",APPL,"))

    known = await world.assets.GetIdentity(pb.GetIdentityRequest(identity_id="BBG000B9XRY4"))

    assert (known.identity.symbol, known.identity.withdrawn) == ("APPL", False)
    assert {(each.symbol, each.withdrawn) for each in known.periods} == {("AAPL", True), ("APPL", False)}


async def test_an_asset_stood_for_whatever_had_its_symbol_before_its_identity_began(world: World) -> None:
    await import_(
        world,
        "BBG000BXNJ07,FB,Facebook Inc,XNAS,equity,USD,US,2012-05-18,2022-06-09\n",
        "BBG000BLNNH6,FB,Fresh Bread ETF,XNAS,equity,USD,US,2025-01-02,\n",
    )
    await told(world, "alpha", equity("FB", exchange="XNAS"))
    await match(world)

    assert await resolved(world, 2026) == ["BBG000BLNNH6"]
    assert await resolved(world, 2020) == ["BBG000BXNJ07"]
    assert await resolved(world, 2023) == []
