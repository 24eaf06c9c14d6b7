"""The StrategyEngine as it is built for production, beside a played DataHub, on a real database and real sockets."""

from __future__ import annotations

import csv
import datetime as dt
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import pytest_asyncio

import strategy_engine.app
from quasar.clock import SystemClock
from quasar.config import STRATEGY, Home, Limits, Settings
from quasar.database.pool import Database
from quasar.model.bars import BarColumns
from quasar.model.instants import to_ns
from quasar.ops.actors import Actor
from quasar.ops.events import Events
from quasar.ops.roles import Role
from quasar.ops.tokens import Tokens
from tests.integration.strategy_engine.played_datahub import Played, serving

DAY_NS = 86_400_000_000_000
GOOG = ("files", "GOOG", "1d")
_TRUTH = Path(__file__).resolve().parents[3].parent / "shared" / "truth"
ROOT = Actor("root", Role.ADMIN)


def truth(name: str) -> Path:
    """Return a file of known results, or skip the test where they are not there."""
    folder = Path(os.environ.get("QUASAR_TEST_TRUTH", str(_TRUTH)))
    if not (folder / name).exists():
        pytest.skip(f"{folder / name} is absent; set QUASAR_TEST_TRUTH to the folder of known results")
    return folder / name


def expected(name: str) -> dict[str, Any]:
    """Return a known result."""
    found: dict[str, Any] = json.loads(truth(name).read_text())
    return found


def goog_bars() -> BarColumns:
    """Return the daily bars of GOOG that the known results were computed from."""
    with truth("goog_1d.csv").open() as file:
        rows = list(csv.DictReader(file))
    times = [to_ns(dt.datetime.fromisoformat(row["ts"]).replace(tzinfo=dt.UTC)) for row in rows]
    columns = {name: np.array([float(row[name.title()]) for row in rows]) for name in ("open", "high", "low", "close")}
    volume = np.array([float(row["Volume"]) for row in rows])
    return BarColumns(np.array(times, dtype=np.int64), volume=volume, **columns)


@dataclass(frozen=True)
class Running:
    """A StrategyEngine that listens."""

    channel: grpc.aio.Channel

    def stub(self, kind: Any) -> Any:
        """A bare generated stub."""
        return kind(self.channel)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Running]:
    """Run the service until the context ends, and drain it then."""
    async with AsyncExitStack() as stack:
        server = await strategy_engine.app.build(settings, stack)
        port = await server.start()
        stack.push_async_callback(server.drain)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
        yield Running(channel)


Start = Callable[[str], Any]


@pytest.fixture
def start(tmp_path: Path, database_url: str, system_context_file: Path) -> Start:
    """Return what runs the service beside the DataHub at an address."""

    def one(datahub: str) -> Any:
        return running(
            Settings(
                part=STRATEGY,
                home=Home(tmp_path),
                database_url=database_url,
                system_context=system_context_file,
                host="127.0.0.1",
                port=0,
                metrics_port=None,
                peers={"registry": "127.0.0.1:9", "datahub": datahub, "strategy": "127.0.0.1:9"},
                limits=Limits(drain_s=3.0),
            )
        )

    return one


@dataclass(frozen=True)
class Bearers:
    """A token of each role."""

    viewer: str
    operator: str
    admin: str


def as_(bearer: str) -> dict[str, Any]:
    """Return the call options of a caller."""
    return {"metadata": (("authorization", f"Bearer {bearer}"),), "timeout": 60}


@pytest_asyncio.fixture(loop_scope="session")
async def bearers(database: Database) -> Bearers:
    clock = SystemClock()
    tokens = Tokens(database, Events(database, "registry", clock), clock)
    made = {role.word: (await tokens.create(role.word, role, actor=ROOT))[1] for role in Role}
    return Bearers(**made)


@pytest_asyncio.fixture(loop_scope="session")
async def played() -> Played:
    """A DataHub that holds the daily bars of GOOG."""
    return Played({GOOG: goog_bars()})


@pytest_asyncio.fixture(loop_scope="session")
async def service(played: Played, start: Start) -> AsyncIterator[Running]:
    """The service beside the played DataHub."""
    async with serving(played) as address, start(address) as up:
        yield up
