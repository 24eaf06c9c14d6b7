"""A provider in Go on a running platform, as a user brings it there: uploaded, subscribed, collected, followed live."""

from __future__ import annotations

import asyncio
import json
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import pytest
import pytest_asyncio

from quasar.client.platform import Platform
from quasar.plugins.jail import landlock, seccomp
from quasar_proto.common.v1 import code_pb2, values_pb2
from quasar_proto.datahub.v1 import collection_pb2, provider_pb2
from quasar_proto.datahub.v1 import collection_service_pb2 as collection_pb
from quasar_proto.datahub.v1 import provider_service_pb2 as provider_pb
from quasar_proto.registry.v1 import asset_service_pb2 as asset_pb
from quasar_proto.registry.v1 import code_service_pb2 as code_pb
from quasar_proto.registry.v1 import subscription_pb2
from quasar_proto.registry.v1 import subscription_service_pb2 as subscription_pb
from tests import go_example
from tests.acceptance.harness import PATIENCE_S, Installation, up

pytestmark = [pytest.mark.xdist_group("platform"), pytest.mark.timeout(600), pytest.mark.slow]

TIDES = code_pb2.CodeRef(kind=values_pb2.CODE_KIND_PROVIDER, name="tides")
MOON = values_pb2.SeriesKey(provider="tides", symbol="MOON", interval="1d")
DAY_NS = 86_400_000_000_000


@pytest_asyncio.fixture(loop_scope="session")
async def quasar(installation: Installation) -> AsyncIterator[Platform]:
    """A platform that has just been started."""
    async with up(installation), Platform.read(installation.environment) as quasar:
        await quasar.ready(within_s=PATIENCE_S)
        yield quasar


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await holds():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.25)


async def test_a_provider_in_go_is_uploaded_collected_and_followed_live(
    installation: Installation, quasar: Platform, tmp_path: Path
) -> None:
    file = tmp_path / "tides.zip"
    file.write_bytes(go_example.tides(tmp_path))
    uploaded = await installation.command("upload", "provider", str(file), "--json")
    assert uploaded.returncode == 0, uploaded.stdout + uploaded.stderr
    told = json.loads(uploaded.stdout)
    assert (told["stored"], told["version"], told["report"]["manifest"]["name"]) == (True, 1, "tides")

    shown = (await quasar.providers.GetProvider(provider_pb.GetProviderRequest(name="tides"))).provider
    assert shown.state == provider_pb2.PROVIDER_STATE_RUNNING, shown.detail
    assert shown.manifest.language == "go"
    enforced = {item.measure: item.enforced for item in shown.process.posture}
    assert enforced["programs"] == (landlock.abi() > 0)
    assert enforced["processes"] == seccomp.supported()

    started = await quasar.assets.SyncAssets(asset_pb.SyncAssetsRequest(source=TIDES))
    await quasar.finished(started.operation)
    listed = await quasar.assets.ListAssets(asset_pb.ListAssetsRequest(filter='source.name = "tides"'))
    assert [one.key.symbol for one in listed.assets] == ["MOON", "SUN"]

    await subscribe(quasar)
    await history_has_come(quasar)
    await live_ticks_come(quasar)
    await another_version_takes_over(installation, quasar, file)


async def subscribe(quasar: Platform) -> None:
    made = subscription_pb2.NewSubscription(
        provider="tides",
        selector=subscription_pb2.Selector(symbol="MOON"),
        interval="1d",
        historical=True,
        live=True,
        store_ticks=True,
    )
    made.backfill_start.FromJsonString("2025-01-01T00:00:00Z")
    answer = await quasar.subscriptions.BatchCreateSubscriptions(
        subscription_pb.BatchCreateSubscriptionsRequest(subscriptions=[made])
    )
    assert answer.created == 1


async def history_has_come(quasar: Platform) -> None:
    waiting = {collection_pb2.SUBSCRIPTION_HEALTH_BACKFILLING, collection_pb2.SUBSCRIPTION_HEALTH_UNSPECIFIED}
    request = collection_pb.BatchGetSubscriptionStatesRequest(keys=[MOON])

    async def settled() -> bool:
        (state,) = (await quasar.collection.BatchGetSubscriptionStates(request)).states
        assert state.health != collection_pb2.SUBSCRIPTION_HEALTH_FAILING, state
        return state.health not in waiting and state.rows > 0

    await until(settled)
    bars = await quasar.bars_and_ticks.bars("tides:MOON@1d")
    assert (bars.open_time_ns[1:] - bars.open_time_ns[:-1] == DAY_NS).all()
    assert len(bars) > 300
    assert (bars.open[1:] == bars.close[:-1]).all()  # as the market of the example moves


async def live_ticks_come(quasar: Platform) -> None:
    ids: list[int] = []
    async with aclosing(quasar.bars_and_ticks.stream("tides", ["MOON"], timeout_s=PATIENCE_S)) as envelopes:
        async for envelope in envelopes:
            ticks = envelope.ticks.get("MOON")
            if ticks is not None and ticks.trade_id is not None:
                ids += ticks.trade_id.tolist()
            if len(ids) >= 20:
                break
    assert ids == list(range(ids[0], ids[0] + len(ids)))  # none lost, none twice


async def another_version_takes_over(installation: Installation, quasar: Platform, file: Path) -> None:
    """Upload changed bytes; the new version runs, and the data of the former one stay."""
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("NOTES.txt", "the second version")
    again = await installation.command("upload", "provider", str(file), "--json")
    assert again.returncode == 0, again.stdout + again.stderr
    versions = await quasar.code.ListCodeVersions(code_pb.ListCodeVersionsRequest(ref=TIDES))
    assert sorted(one.version for one in versions.versions) == [1, 2]

    async def runs() -> bool:
        shown = (await quasar.providers.GetProvider(provider_pb.GetProviderRequest(name="tides"))).provider
        return shown.version == 2 and shown.state == provider_pb2.PROVIDER_STATE_RUNNING

    await until(runs)
    assert len(await quasar.bars_and_ticks.bars("tides:MOON@1d")) > 300
    await live_ticks_come(quasar)
