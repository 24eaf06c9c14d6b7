"""A platform with live data, and a browser that is driven by the scripts of this folder."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from quasar.client.platform import Platform
from quasar_proto.common.v1 import code_pb2, values_pb2
from quasar_proto.datahub.v1 import collection_service_pb2 as collection_pb
from quasar_proto.datahub.v1 import market_data_pb2
from quasar_proto.registry.v1 import asset_service_pb2 as asset_pb
from quasar_proto.registry.v1 import subscription_pb2
from quasar_proto.registry.v1 import subscription_service_pb2 as subscription_pb
from tests.acceptance.harness import Installation, kill, up

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(__file__).parent / "scripts"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PROVIDER = "simulated"
SYMBOLS = ("BTC/USD", "ETH/USD", "SOL/USD")
PATIENCE_S = 240


@dataclass(frozen=True)
class Page:
    """A page that is served, and how to sign in."""

    url: str
    token: str = field(repr=False)
    platform: Platform = field(repr=False)
    installation: Installation = field(repr=False)

    async def drive(self, script: str, *arguments: str | Path, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """Run a script to its end and return what it found; what it asks to be killed on the way is killed."""
        process = await asyncio.create_subprocess_exec(
            "node",
            str(SCRIPTS / script),
            *(str(each) for each in arguments),
            env={**os.environ, "PAGE_URL": self.url, "PAGE_TOKEN": self.token, "PAGE_BROWSER": browser() or ""},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=16 * 1024 * 1024,
        )
        try:
            async with asyncio.timeout(patience_s):
                found = await self._heard(process)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        return found

    async def _heard(self, process: asyncio.subprocess.Process) -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        found: dict[str, Any] = {}
        async for line in process.stdout:
            found = json.loads(line)
            if "kill" in found:
                kill(self.installation.processes()[found["kill"]])
                process.stdin.write(b"done\n")
        wrong = await process.stderr.read()
        assert await process.wait() == 0, wrong.decode()
        return found


def browser() -> str | None:
    """Where Chromium is; `QUASAR_TEST_BROWSER` names another one."""
    return os.environ.get("QUASAR_TEST_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)


def missing() -> str | None:
    """Why the page cannot be driven here."""
    if shutil.which("node") is None:
        return "Node is not installed"
    if browser() is None:
        return f"none of {', '.join(BROWSERS)} is installed, and QUASAR_TEST_BROWSER names no other"
    if not (CHECKOUT / "node_modules" / "playwright-core").is_dir():
        return "node_modules lacks playwright-core; run `npm ci`"
    if not (CHECKOUT / "web" / "dist" / "index.html").is_file():
        return "the frontend is not built; run `make web`"
    return None


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def page(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Page]:
    """The page of a platform whose markets move; the tests of this folder share it."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    installation = Installation.at(tmp_path_factory.mktemp("web") / "home")
    async with up(installation), Platform.read(installation.environment) as platform:
        await platform.ready(within_s=PATIENCE_S)
        await _subscribe(platform)
        token = (installation.home / "admin.token").read_text(encoding="utf-8").strip()
        yield Page(f"http://127.0.0.1:{installation.port('gateway')}", token, platform, installation)


async def _subscribe(platform: Platform) -> None:
    source = code_pb2.CodeRef(kind=values_pb2.CODE_KIND_PROVIDER, name=PROVIDER)
    synced = await platform.assets.SyncAssets(asset_pb.SyncAssetsRequest(source=source))
    await platform.finished(synced.operation)
    wanted = []
    since = platform.clock.now() - dt.timedelta(hours=6)
    for symbol in SYMBOLS:
        one = subscription_pb2.NewSubscription(
            provider=PROVIDER,
            selector=subscription_pb2.Selector(symbol=symbol),
            interval="1min",
            historical=True,
            live=True,
            store_ticks=True,
        )
        one.backfill_start.FromDatetime(since)
        wanted.append(one)
    await platform.subscriptions.BatchCreateSubscriptions(
        subscription_pb.BatchCreateSubscriptionsRequest(subscriptions=wanted)
    )
    history = collection_pb.BackfillRequest(
        series=[
            market_data_pb2.SeriesReference(key=values_pb2.SeriesKey(provider=PROVIDER, symbol=symbol, interval="1min"))
            for symbol in SYMBOLS
        ]
    )
    history.range.start.FromDatetime(since)
    history.range.end.FromDatetime(platform.clock.now())
    started = await platform.collection.Backfill(history)
    await platform.finished(started.operation)
