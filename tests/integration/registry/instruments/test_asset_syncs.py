from __future__ import annotations

import grpc
import pytest

from quasar import errors
from quasar.client.channel import Channel, ClientSettings
from quasar_proto.datahub.v1.provider_pb2 import ProviderSymbol
from quasar_proto.registry.v1 import asset_pb2
from quasar_proto.registry.v1 import asset_service_pb2 as pb
from registry.assets.syncs import SyncRequest
from registry.code.refs import CodeKind, CodeRef
from registry.rpc.index_users import RemoteIndexUsers
from registry.rpc.upstream import RemoteUpstream
from registry.workshop import Workshop
from tests.integration.registry.instruments.asset_calls import CRYPTO, EQUITY, get, listed, symbols
from tests.integration.registry.instruments.world import World, broker, key, provider
from tests.integration.rpc.harness import failure_of

STRANGE = ("BTC/USD", "two words", "ＡＢＣ中文", "é" * 200, "a'b\"c\\d%_", "$x;--", "{}", "../../etc")


async def test_a_sync_adds_changes_marks_and_brings_back(world: World) -> None:
    await world.add_code("alpha")
    report = await symbols(world, "alpha", ProviderSymbol(symbol="A", name="First"), ProviderSymbol(symbol="B"))
    assert (report.received, report.added, report.updated, report.unchanged) == (2, 2, 0, 0)

    report = await symbols(world, "alpha", ProviderSymbol(symbol="A", name="Second"), ProviderSymbol(symbol="C"))
    assert (report.added, report.updated, report.unchanged, report.vanished) == (1, 1, 0, 1)
    gone = await get(world, "alpha", "B")
    assert gone.state == asset_pb2.ASSET_STATE_VANISHED
    assert gone.HasField("vanish_time")

    report = await symbols(world, "alpha", *(ProviderSymbol(symbol=s) for s in "ABC"))
    assert (report.returned, report.updated, report.unchanged) == (1, 2, 1)
    back = await get(world, "alpha", "B")
    assert back.state == asset_pb2.ASSET_STATE_LISTED
    assert not back.HasField("vanish_time")
    assert back.first_seen_time == gone.first_seen_time


async def test_what_did_not_change_is_not_written_and_is_still_seen(world: World) -> None:
    await world.add_code("alpha")
    await symbols(world, "alpha", ProviderSymbol(symbol="A", name="Same"))
    before = await get(world, "alpha", "A")
    await symbols(world, "alpha", ProviderSymbol(symbol="A", name="Same"))
    after = await get(world, "alpha", "A")
    assert (after.etag, after.update_time) == (before.etag, before.update_time)
    assert after.last_seen_time.ToNanoseconds() > before.last_seen_time.ToNanoseconds()


async def test_an_empty_answer_marks_nothing_as_vanished(world: World) -> None:
    await world.add_code("alpha")
    await symbols(world, "alpha", ProviderSymbol(symbol="A"))
    report = await symbols(world, "alpha")
    assert report.empty_answer
    assert (await get(world, "alpha", "A")).state == asset_pb2.ASSET_STATE_LISTED


async def test_a_stream_that_breaks_off_keeps_what_came_and_marks_nothing(world: World) -> None:
    await world.add_code("alpha")
    await symbols(world, "alpha", *(ProviderSymbol(symbol=f"S{i}") for i in range(30)))
    vendor = world.vendors["alpha"]
    vendor.page, vendor.breaks_after = 10, 20
    vendor.symbols = [ProviderSymbol(symbol=f"N{i}") for i in range(30)]
    operation = await world.done(await world.assets.SyncAssets(pb.SyncAssetsRequest(source=provider("alpha"))))
    assert operation.error.message == "The vendor broke off."
    assert {asset.state for asset in await listed(world, page_size=100)} == {asset_pb2.ASSET_STATE_LISTED}
    (event,) = await world.events("AssetsSyncFailed")
    assert event["data"] == {"reason": "VENDOR_FAILED"}


async def test_bad_rows_are_reported_by_position_and_cost_no_good_one(world: World) -> None:
    await world.add_code("alpha")
    report = await symbols(
        world,
        "alpha",
        ProviderSymbol(symbol="A"),
        ProviderSymbol(symbol=" "),
        ProviderSymbol(symbol="A"),
        ProviderSymbol(symbol="B", asset_class=99),  # a number that the contract does not know
        ProviderSymbol(symbol="C"),
    )
    assert (report.received, report.added, report.rejected) == (5, 2, 3)
    assert [(each.position, each.symbol) for each in report.rejections] == [(2, " "), (3, "A"), (4, "B")]


async def test_symbols_of_any_characters_are_found_under_their_own_name(world: World) -> None:
    await world.add_code("alpha")
    await symbols(world, "alpha", *(ProviderSymbol(symbol=symbol) for symbol in STRANGE))
    for symbol in STRANGE:
        assert (await get(world, "alpha", symbol)).key.symbol == symbol
        escaped = symbol.replace("\\", "\\\\").replace('"', '\\"')
        (found,) = await listed(world, filter=f'symbol = "{escaped}"')
        assert found.key.symbol == symbol


async def test_an_unknown_source_an_inactive_one_and_a_broker_without_a_list_are_refused(world: World) -> None:
    await world.add_code("asleep", active=False)
    await world.add_code("mute", capabilities=["LIVE"])
    await world.add_code("desk", kind="broker", capabilities=[])
    cases = [
        (provider("nobody"), grpc.StatusCode.NOT_FOUND),
        (provider("asleep"), grpc.StatusCode.FAILED_PRECONDITION),
        (provider("mute"), grpc.StatusCode.FAILED_PRECONDITION),
        (broker("desk"), grpc.StatusCode.FAILED_PRECONDITION),
    ]
    for source, code in cases:
        failure = await failure_of(world.assets.SyncAssets(pb.SyncAssetsRequest(source=source)))
        assert failure.code == code


async def test_a_broker_is_synced_from_the_strategy_engine(world: World) -> None:
    await world.add_code("desk", kind="broker")
    world.vendors["desk"].symbols = [
        ProviderSymbol(symbol="AAPL", name="Apple", asset_class=EQUITY, price_step={"value": "0.01"}),
        ProviderSymbol(symbol="BTC/USD", asset_class=CRYPTO),
    ]
    world.vendors["desk"].errors = ["XYZ: no currency"]
    report = await world.sync("desk", broker("desk"))
    assert (report.received, report.added, report.rejected) == (3, 2, 1)
    found = (await world.assets.GetAsset(pb.GetAssetRequest(key={"source": broker("desk"), "symbol": "AAPL"}))).asset
    assert (found.name, found.trading_rules.price_increment.value) == ("Apple", "0.01")
    world.vendors["desk"].symbols.pop()
    assert (await world.sync("desk", broker("desk"))).vanished == 1


async def test_a_broker_whose_process_does_not_start_fails_the_operation_and_keeps_the_assets(world: World) -> None:
    await world.add_code("desk", kind="broker")
    world.vendors["desk"].symbols = [ProviderSymbol(symbol="A")]
    await world.sync("desk", broker("desk"))
    world.vendors["desk"].failure = errors.PluginUnavailable("The broker desk does not run.")
    operation = await world.done(await world.assets.SyncAssets(pb.SyncAssetsRequest(source=broker("desk"))))
    assert operation.error.message == "The broker desk does not run."
    (kept,) = await listed(world, filter='source.kind = "BROKER"')
    assert kept.state == asset_pb2.ASSET_STATE_LISTED


async def test_a_plug_in_that_is_away_fails_the_operation_with_its_reason(world: World) -> None:
    await world.add_code("alpha")
    world.vendors["alpha"].failure = errors.PluginUnavailable("The plug-in alpha is not running.")
    operation = await world.done(await world.assets.SyncAssets(pb.SyncAssetsRequest(source=provider("alpha"))))
    assert operation.state == 4
    assert operation.error.message == "The plug-in alpha is not running."


async def test_of_all_sources_one_that_fails_does_not_stop_the_others(world: World) -> None:
    for name in ("alpha", "beta", "gamma"):
        await world.add_code(name)
        world.vendors[name].symbols = [ProviderSymbol(symbol="A")]
    world.vendors["beta"].failure = errors.VendorFailed("No answer.")
    answer = await world.assets.SyncAssets(pb.SyncAssetsRequest(all_sources=True))
    result = await world.result(answer, asset_pb2.SyncAssetsResult)
    assert [(each.source.name, each.added, each.error) for each in result.reports] == [
        ("alpha", 1, ""),
        ("beta", 0, "VENDOR_FAILED: No answer."),
        ("gamma", 1, ""),
    ]


async def test_a_repeated_request_has_the_operation_of_the_first(world: World) -> None:
    await world.add_code("alpha")
    request = pb.SyncAssetsRequest(source=provider("alpha"), request_id="once")
    first = await world.assets.SyncAssets(request)
    await world.done(first)
    again = await world.assets.SyncAssets(request)
    assert again.operation.operation_id == first.operation.operation_id
    await world.owner.execute("update registry.code_registry set active_version = null where name = 'alpha'")
    again = await world.assets.SyncAssets(request)
    assert again.operation.operation_id == first.operation.operation_id
    request.skip_mapping = True
    assert (await failure_of(world.assets.SyncAssets(request))).code == grpc.StatusCode.ALREADY_EXISTS


async def test_a_providers_own_identity_is_set_and_outlives_an_answer_without_it(world: World) -> None:
    await world.add_code("alpha")
    await symbols(
        world,
        "alpha",
        ProviderSymbol(symbol="A", asset_class=EQUITY, exchange="XNAS", primary_id="BBG000B9XRY4"),
        ProviderSymbol(symbol="B", asset_class=EQUITY, exchange="XETR", isin="US0378331005"),
    )
    assert (await get(world, "alpha", "A")).identity.identity_id == "BBG000B9XRY4"
    assert (await get(world, "alpha", "B")).identity.identity_id == "US0378331005@XETR"
    await symbols(world, "alpha", ProviderSymbol(symbol="A", asset_class=EQUITY, name="now without"))
    kept = await get(world, "alpha", "A")
    assert (kept.identity.identity_id, kept.name) == ("BBG000B9XRY4", "now without")
    assert kept.identity.origin == asset_pb2.IDENTITY_ORIGIN_PROVIDER


async def test_what_somebody_sets_outlives_a_sync_until_it_is_released(world: World) -> None:
    await world.add_code("alpha")
    told = ProviderSymbol(symbol="A", name="Told", asset_class=EQUITY, exchange="XNAS")
    await symbols(world, "alpha", told)
    changed = asset_pb2.Asset(key=key("alpha", "A"), name="Mine", exchange="xnys")
    answer = await world.assets.UpdateAsset(
        pb.UpdateAssetRequest(asset=changed, update_mask={"paths": ["name", "exchange"]})
    )
    assert (answer.asset.name, answer.asset.exchange) == ("Mine", "XNYS")
    assert list(answer.asset.manual_fields) == ["name", "exchange"]
    await symbols(world, "alpha", told)
    assert (await get(world, "alpha", "A")).name == "Mine"

    await world.assets.UpdateAsset(pb.UpdateAssetRequest(asset=changed, release_mask={"paths": ["name"]}))
    await symbols(world, "alpha", told)
    asset = await get(world, "alpha", "A")
    assert (asset.name, asset.exchange, list(asset.manual_fields)) == ("Told", "XNYS", ["exchange"])
    first, *_ = await world.events("AssetUpdated")
    assert first["data"]["before"]["name"] == "Told"
    assert first["data"]["after"]["name"] == "Mine"
    assert first["actor"] == "operator"


async def test_a_datahub_that_is_down_is_named_at_once_and_what_is_stored_stays(world: World) -> None:
    await world.add_code("alpha")
    await symbols(world, "alpha", ProviderSymbol(symbol="A"))
    ground = world.workshop.ground
    async with Channel(ClientSettings(target="127.0.0.1:1", service="datahub")) as nowhere:
        down = Workshop.equip(ground, RemoteUpstream(nowhere, nowhere), RemoteIndexUsers(nowhere))
        request = SyncRequest(ref=CodeRef(CodeKind.PROVIDER, "alpha"))
        with pytest.raises(errors.ServiceUnavailable, match="datahub does not answer"):
            await down.syncs.begin(request, None)
    assert (await get(world, "alpha", "A")).state == asset_pb2.ASSET_STATE_LISTED
