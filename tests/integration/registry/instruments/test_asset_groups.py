"""An identity that the matcher found does not outlive the group that it was found in."""

from __future__ import annotations

from quasar_proto.datahub.v1.provider_pb2 import ProviderSymbol
from quasar_proto.registry.v1 import asset_pb2
from quasar_proto.registry.v1 import asset_service_pb2 as pb
from tests.integration.registry.instruments.identity_calls import AAPL, CRYPTO, equity, get, import_, match, told
from tests.integration.registry.instruments.world import World, key


async def test_a_class_of_another_group_that_the_source_tells_takes_a_matched_identity_away(world: World) -> None:
    await import_(world, AAPL)
    await told(world, "alpha", equity("AAPL", exchange="XNAS"))
    await match(world)
    assert (await get(world, "AAPL")).asset.identity.identity_id

    await told(world, "alpha", ProviderSymbol(symbol="AAPL", asset_class=CRYPTO))  # enum values are integers

    asset = (await get(world, "AAPL")).asset
    assert asset.identity.identity_id == ""
    assert asset.identity_state == asset_pb2.IDENTITY_STATE_UNIDENTIFIED


async def test_a_class_of_another_group_set_by_hand_takes_a_matched_identity_away(world: World) -> None:
    await import_(world, AAPL)
    await told(world, "alpha", equity("AAPL", exchange="XNAS"))
    await match(world)

    by_hand = asset_pb2.Asset(key=key("alpha", "AAPL"), asset_class=CRYPTO)
    request = pb.UpdateAssetRequest(asset=by_hand, update_mask={"paths": ["asset_class"]})
    asset = (await world.assets.UpdateAsset(request)).asset

    assert asset.identity.identity_id == ""
    assert asset.identity_state == asset_pb2.IDENTITY_STATE_UNIDENTIFIED


async def test_an_identity_chosen_by_hand_stays_whatever_class_the_source_tells(world: World) -> None:
    await import_(world, AAPL)
    await told(world, "alpha", equity("AAPL"))
    chosen = asset_pb2.Asset(key=key("alpha", "AAPL"), identity={"identity_id": "BBG000B9XRY4"})
    await world.assets.UpdateAsset(pb.UpdateAssetRequest(asset=chosen, update_mask={"paths": ["identity.identity_id"]}))

    await told(world, "alpha", ProviderSymbol(symbol="AAPL", asset_class=CRYPTO))  # enum values are integers

    assert (await get(world, "AAPL")).asset.identity.identity_id == "BBG000B9XRY4"


async def test_an_answer_of_bad_rows_only_is_no_empty_answer(world: World) -> None:
    await told(world, "alpha", equity("AAPL"))

    report = await told(world, "alpha", ProviderSymbol(symbol=" "))

    assert (report.received, report.rejected, report.vanished, report.empty_answer) == (1, 1, 0, False)
