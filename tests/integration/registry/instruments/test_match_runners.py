"""A match that was taken tells what it was preferred to."""

from __future__ import annotations

from quasar_proto.registry.v1 import asset_pb2
from quasar_proto.registry.v1 import asset_service_pb2 as pb
from tests.integration.registry.instruments.identity_calls import LONDON, NEW_YORK, equity, get, import_, match, told
from tests.integration.registry.instruments.world import World, key


async def test_a_match_keeps_its_runner_up_until_the_identity_is_another(world: World) -> None:
    await import_(world, LONDON, NEW_YORK)
    await told(world, "alpha", equity("ABC", name="Alpha Beta Corp"), equity("ONLY"))
    report = await match(world)
    assert (report.exact, report.unmatched) == (1, 1)

    found = await get(world, "ABC")

    assert found.asset.identity.identity_id == "BBG000BXNJ07"
    assert found.runner_up.identity.identity_id == "BBG000BLNNH6"
    assert found.runner_up.identity.name == "Another Business Co"
    assert 0 < found.runner_up.confidence < found.asset.identity.confidence
    assert found.runner_up.reason
    assert not (await get(world, "ONLY")).HasField("runner_up")

    by_hand = asset_pb2.Asset(key=key("alpha", "ABC"), identity={"identity_id": "BBG000BXNJ07"})
    await world.assets.UpdateAsset(
        pb.UpdateAssetRequest(asset=by_hand, update_mask={"paths": ["identity.identity_id"]})
    )
    assert not (await get(world, "ABC")).HasField("runner_up")


async def test_a_match_without_a_second_candidate_forgets_the_former_one(world: World) -> None:
    await import_(world, LONDON, NEW_YORK)
    await told(world, "alpha", equity("ABC", name="Alpha Beta Corp"))
    await match(world)
    assert (await get(world, "ABC")).HasField("runner_up")

    taken_away = asset_pb2.Asset(key=key("alpha", "ABC"))
    for request in (
        pb.UpdateAssetRequest(asset=taken_away, update_mask={"paths": ["identity.identity_id"]}),
        pb.UpdateAssetRequest(asset=taken_away, release_mask={"paths": ["identity_id"]}),
    ):
        await world.assets.UpdateAsset(request)
    await import_(world, LONDON)
    await match(world)

    found = await get(world, "ABC")
    assert found.asset.identity.identity_id == "BBG000BXNJ07"
    assert not found.HasField("runner_up")


async def test_a_second_look_takes_what_fits_now_and_keeps_what_fits_as_well(world: World) -> None:
    await import_(world, LONDON, NEW_YORK)
    await told(world, "alpha", equity("ABC", exchange="XLON"))
    await match(world)
    assert (await get(world, "ABC")).asset.identity.identity_id == "BBG000BXNJ07"

    await told(world, "alpha", equity("ABC", exchange="XNYS"))
    kept = await match(world)
    assert (kept.already_identified, kept.exact) == (1, 0)
    again = await match(world, rematch=True)
    assert (again.already_identified, again.exact) == (0, 1)
    assert (await get(world, "ABC")).asset.identity.identity_id == "BBG000BLNNH6"

    await told(world, "alpha", equity("ABC"))  # both fit alike
    await match(world, rematch=True)
    assert (await get(world, "ABC")).asset.identity.identity_id == "BBG000BLNNH6"


async def test_a_dry_run_shows_what_the_identifiers_of_a_source_would_give(world: World) -> None:
    await told(world, "alpha", equity("AAPL", exchange="XNAS", isin="US0378331005"), equity("MSFT", exchange="XNAS"))
    listing = "BBG000B9XRY4,AAPL,Apple Inc.,XNAS,equity,USD,US,US0378331005\n"
    content = b"figi,symbol,name,mic,class,currency,country,isin\n" + listing.encode()
    request = pb.ImportIdentitiesRequest(name="list", content=content, file_name="list.csv")
    await world.result(await world.assets.ImportIdentities(request), asset_pb2.ImportIdentitiesResult)
    assert (await get(world, "AAPL")).asset.identity.identity_id == "US0378331005@XNAS"

    tried = await match(world, dry_run=True)
    (preview,) = (
        await world.assets.ListMatchProposals(pb.ListMatchProposalsRequest(filter="state = PREVIEW"))
    ).proposals
    done = await match(world)

    assert (preview.asset.key.symbol, preview.best.identity.identity_id) == ("AAPL", "BBG000B9XRY4")
    assert preview.best.method == asset_pb2.MATCH_METHOD_PROVIDER_ID
    counts = [(each.examined, each.already_identified, each.exact, each.unmatched) for each in (tried, done)]
    assert counts == [(2, 0, 1, 1)] * 2
    assert (await get(world, "AAPL")).asset.identity.identity_id == "BBG000B9XRY4"
