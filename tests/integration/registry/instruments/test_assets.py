from __future__ import annotations

from typing import Any

import pytest

from quasar.rpc.contract import service_of
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1.provider_pb2 import ProviderSymbol
from quasar_proto.registry.v1 import asset_pb2
from quasar_proto.registry.v1 import asset_service_pb2 as pb
from registry.rpc.asset_service import AssetService
from registry.rpc.index_service import IndexService
from registry.rpc.mapping_service import MappingService
from tests.integration.registry.instruments.asset_calls import EQUITY, get, symbols
from tests.integration.registry.instruments.world import OPERATOR, World, key, provider
from tests.integration.rpc.harness import failure_of


async def test_trading_rules_and_expiry_are_set_as_a_whole(world: World) -> None:
    await world.add_code("alpha")
    await symbols(world, "alpha", ProviderSymbol(symbol="A", price_step=values_pb2.Decimal(value="0.01")))
    asset = await get(world, "alpha", "A")
    assert asset.trading_rules.price_increment.value == "0.01"
    rules = asset_pb2.TradingRules(size_increment={"value": "1e-8"})
    changed = asset_pb2.Asset(key=key("alpha", "A"), trading_rules=rules)
    changed.expire_time.FromJsonString("2026-12-18T00:00:00Z")
    answer = await world.assets.UpdateAsset(
        pb.UpdateAssetRequest(asset=changed, update_mask={"paths": ["trading_rules", "expire_time"]})
    )
    assert answer.asset.trading_rules.size_increment.value == "0.00000001"
    assert not answer.asset.trading_rules.HasField("price_increment")
    assert answer.asset.expire_time.ToJsonString() == "2026-12-18T00:00:00Z"


async def test_a_change_that_cannot_be_says_why(world: World) -> None:
    await world.add_code("alpha")
    await symbols(world, "alpha", ProviderSymbol(symbol="A", asset_class=EQUITY))
    asset = asset_pb2.Asset(key=key("alpha", "A"), etag="999", country="Germany")
    cases: list[tuple[Any, list[str], str]] = [
        (asset, ["name"], "ETAG_MISMATCH"),
        (asset_pb2.Asset(key=key("alpha", "X")), ["name"], "NOT_FOUND"),
        (asset_pb2.Asset(key=key("nobody", "A")), ["name"], "NOT_FOUND"),
        (asset_pb2.Asset(key=key("alpha", "A"), country="Germany"), ["country"], "INVALID_ARGUMENT"),
        (
            asset_pb2.Asset(key=key("alpha", "A"), asset_class=99),
            ["asset_class"],
            "INVALID_ARGUMENT",
        ),  # no number of the contract
        (asset_pb2.Asset(key=key("alpha", "A")), ["state"], "INVALID_ARGUMENT"),
        (asset_pb2.Asset(key=key("alpha", "A")), [], "INVALID_ARGUMENT"),
        (
            asset_pb2.Asset(key=key("alpha", "A"), identity={"identity_id": "BBG000B9XRY4"}),
            ["identity.identity_id"],
            "NOT_FOUND",
        ),
    ]
    for changed, paths, reason in cases:
        request = pb.UpdateAssetRequest(asset=changed, update_mask={"paths": paths})
        assert (await failure_of(world.assets.UpdateAsset(request))).info.reason == reason, paths


async def test_reading_needs_no_more_than_a_viewer_and_changing_does(world: World) -> None:
    await world.add_code("alpha")
    viewer = {"metadata": (("authorization", "Bearer viewer-token"),), "timeout": 10}
    from quasar_proto.registry.v1 import asset_service_pb2_grpc

    stub = asset_service_pb2_grpc.AssetServiceStub(world.channel)
    await stub.ListAssets(pb.ListAssetsRequest(), **viewer)
    failure = await failure_of(stub.SyncAssets(pb.SyncAssetsRequest(source=provider("alpha")), **viewer))
    assert failure.info.reason == "ROLE_TOO_SMALL"
    assert OPERATOR["timeout"]


@pytest.mark.parametrize("service", [AssetService, MappingService, IndexService])
def test_every_method_of_the_contract_has_an_implementation(service: type) -> None:
    described, generated = service_of(object.__new__(service))
    missing = [each.name for each in described.methods if getattr(service, each.name) is getattr(generated, each.name)]
    assert missing == []


async def test_a_size_that_can_be_none_costs_no_symbol(world: World) -> None:
    await world.add_code("alpha")
    sizes = ("NaN", "Infinity", "1e400000", "1" * 70, "-1", "0", "x", "0.010")
    told = [ProviderSymbol(symbol=f"S{n}", price_step={"value": size}) for n, size in enumerate(sizes)]

    report = await symbols(world, "alpha", *told)

    assert (report.added, report.rejected) == (len(sizes), 0)
    found = [(await get(world, "alpha", f"S{n}")).trading_rules.price_increment.value for n in range(len(sizes))]
    assert found == [""] * (len(sizes) - 1) + ["0.010"]
