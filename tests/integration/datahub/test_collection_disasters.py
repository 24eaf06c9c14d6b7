"""What collection survives: its own death, the database's death, a full disk and a clock that jumps."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from datahub.collection.answers import Answer
from datahub.collection.clock_steps import ClockSteps
from datahub.collection.planner import Planner
from quasar.config import DATAHUB
from quasar.database.account import server_account
from quasar.database.embedded import EmbeddedPostgres
from quasar.database.pool import Database
from quasar.database.schema import prepare_schema
from quasar.model.instants import to_ns
from quasar.ops.events import Events
from quasar.sdk.requests import BarRequest
from quasar.secrets import SystemContext
from tests.acceptance.harness import free_ports
from tests.integration.datahub.paged_provider import MINUTE_NS
from tests.integration.datahub.paged_vendor import BadPage, PagedVendor
from tests.integration.datahub.sources import DONE, bars_of, part
from tests.integration.datahub.test_collection import NOW, House, house
from tests.integration.datahub.test_collection_faults import (
    ATTEMPTS,
    PAGES,
    PATIENCE_S,
    RUNS,
    complete,
    events,
    nothing_lost_nothing_twice,
    vendor,
    wanted,
)
from tests.integration.services.conftest import running, settings_for

__all__ = ["house", "vendor"]

MIB = 1024 * 1024


@pytest_asyncio.fixture(loop_scope="session")
async def own_server(tmp_path: Path, system_context: SystemContext) -> AsyncIterator[EmbeddedPostgres]:
    """A database server of the test's own, to be killed and filled."""
    async with EmbeddedPostgres(tmp_path / "db") as server:
        await prepare_schema(server.url, system_context)
        yield server


@asynccontextmanager
async def opened(server: EmbeddedPostgres) -> AsyncIterator[Database]:
    settings = {"search_path": "datahub, registry, ops, public"}
    async with await Database.open(server.url, application_name="quasar-tests", settings=settings) as database:
        yield database


@asynccontextmanager
async def hub_process(url: str, home: Path, context: Path) -> AsyncIterator[subprocess.Popen[bytes]]:
    """The DataHub in a process of its own."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("QUASAR_")}
    environment = {
        **outside,
        "QUASAR_HOME": str(home),
        "QUASAR_DATABASE_URL": url,
        "QUASAR_SYSTEM_CONTEXT": str(context),
        "QUASAR_DATAHUB_PORT": str(free_ports(1)[0]),
    }
    process = subprocess.Popen(  # noqa: ASYNC220  # started in milliseconds, waited for in a thread
        [sys.executable, "-m", "datahub"], env=environment, stdin=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(process.wait, 15)
        process.kill()


async def asked_for(vendor: PagedVendor, call: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not vendor.calls[call]:  # noqa: ASYNC110  # the vendor tells nobody
            await asyncio.sleep(0.01)


async def test_a_datahub_that_is_killed_goes_on_where_it_stopped(
    database: Database, database_url: str, tmp_path: Path, system_context_file: Path, vendor: PagedVendor
) -> None:
    vendor.pace_s = 0.1
    begin = await wanted(database, vendor, "A")
    async with hub_process(database_url, tmp_path, system_context_file) as first:
        await asked_for(vendor, "A 5")
        first.send_signal(signal.SIGKILL)
        await asyncio.to_thread(first.wait)
    vendor.pace_s = 0.0
    async with hub_process(database_url, tmp_path, system_context_file):
        (run,) = await complete(database, 100 * PAGES)
    assert (run["state"], run["attempts"]) == ("SUCCEEDED", 2)
    assert run["inserted"] + run["unchanged"] >= 100 * PAGES - 500
    await nothing_lost_nothing_twice(database, begin)
    assert await events(database) == ["RunTakenOver"]
    broken, done = await database.fetch(f"select * from {ATTEMPTS} order by attempt")
    assert (broken["error"]["reason"], done["error"]) == ("ABORTED", None)
    assert broken["worker"] != done["worker"]


async def test_a_database_that_is_killed_in_mid_run_costs_a_part_of_the_way_and_no_bar(
    own_server: EmbeddedPostgres, tmp_path: Path, system_context_file: Path, vendor: PagedVendor
) -> None:
    vendor.pace_s = 0.1
    async with opened(own_server) as database:
        begin = await wanted(database, vendor, "A", "B")
    async with running(settings_for(DATAHUB, tmp_path, own_server.url, system_context_file)):
        await asked_for(vendor, "A 5")
        assert own_server.process_id is not None
        psutil.Process(own_server.process_id).send_signal(signal.SIGKILL)
        vendor.pace_s = 0.0
        # Long enough for the runs to end while there is nothing to write to.
        await asked_for(vendor, f"A {PAGES}")
        await own_server.start()
        async with opened(own_server) as database:
            runs = await complete(database, 200 * PAGES)
            assert [run["state"] for run in runs] == ["SUCCEEDED"] * 2
            await nothing_lost_nothing_twice(database, begin, 2)
            assert "RunTakenOver" in await events(database)
            broken = await database.fetch(f"select error from {ATTEMPTS} where error is not null")
            assert {each["error"]["reason"] for each in broken} <= {"ABORTED", "DATABASE_UNAVAILABLE"}
            assert broken


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 16 MiB."""
    # Not below the test's folder: the account of the server may not enter that.
    folder = Path(tempfile.mkdtemp(prefix="quasar-small-"))
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {made.stderr.decode().strip()}")
    folder.chmod(0o755)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
    folder.rmdir()


async def test_a_full_disk_stops_a_run_and_room_on_it_lets_the_run_go_on(
    own_server: EmbeddedPostgres, small_disk: Path, tmp_path: Path, system_context_file: Path, vendor: PagedVendor
) -> None:
    place = small_disk / "tables"
    place.mkdir()
    server_account(own_server.cluster.home / "data").own(place)
    async with opened(own_server) as database:
        begin = await wanted(database, vendor, "A")
        await database.execute(f"create tablespace small location '{place}'")
        await database.execute(
            "select ops.ensure_partitions('datahub.historical_data', $1, now() + interval '1 day')", begin
        )
        parts = await database.fetch(
            "select inhrelid::regclass::text as name from pg_inherits "
            "where inhparent = 'datahub.historical_data'::regclass"
        )
        for part_of in parts:
            await database.execute(f"alter table {part_of['name']} set tablespace small")
    ballast = small_disk / "ballast"
    async with running(settings_for(DATAHUB, tmp_path, own_server.url, system_context_file)):  # noqa: SIM117
        async with opened(own_server) as database:
            vendor.bad.append(BadPage(1, "html"))
            await _failed(database, "moving to a new home")
            # The partitions are there and empty; now the disk gets full under them.
            with contextlib.suppress(OSError), ballast.open("wb") as file:
                while True:
                    file.write(b"\0" * 4096)
                    file.flush()
            await database.execute(
                "update datahub.collection_runs set next_attempt_at = now() where finished_at is null"
            )
            await database.execute("select pg_notify('quasar_collection', 'work')")
            await _failed(database, "disk of the database is full")
            assert await database.fetchval("select count(*) from datahub.historical_data") == 0
            ballast.unlink()
            (run,) = await complete(database, 100 * PAGES)
            assert (run["state"], run["inserted"]) == ("SUCCEEDED", 100 * PAGES)
            await nothing_lost_nothing_twice(database, begin)
            assert set(await events(database)) == {"RunAttemptFailed"}
            told = await database.fetch(f"select error->>'message' as message from {ATTEMPTS} order by attempt")
            assert "disk of the database is full" in str([each["message"] for each in told]).lower()


async def _failed(database: Database, words: str) -> None:
    """Wait until an attempt failed with some words."""
    found = ""
    async with asyncio.timeout(PATIENCE_S):
        while words not in found.lower():
            await asyncio.sleep(0.05)
            found = str(await database.fetchval(f"select error->>'message' from {RUNS}"))


class RealTime:
    """A vendor who has bars up to the real time, whatever the clock of the house shows."""

    def __init__(self, now: dt.datetime) -> None:
        self.now = now

    def __call__(self, request: BarRequest) -> list[Answer]:
        until = min(request.end_ns, to_ns(self.now) // MINUTE_NS * MINUTE_NS)
        if until <= request.start_ns:
            return [DONE]
        return [part(bars_of(dataclasses.replace(request, end_ns=until))), DONE]


@pytest.mark.parametrize("hours", [-6, 6])
async def test_a_clock_that_jumps_and_is_set_right_loses_nothing(house: House, hours: int) -> None:
    vendor = RealTime(NOW)
    house.source.scripts["A"] = [vendor]
    house.planner = Planner(
        house.database, house.clock, ClockSteps(house.database, Events(house.database, "datahub", house.clock))
    )
    await house.subscribe("A")
    await house.plan()
    await house.work()
    house.clock.set_wall(NOW + dt.timedelta(hours=hours))
    await house.plan()
    await house.work()
    house.clock.set_wall(NOW)
    for minute in range(1, 4):
        await house.clock.advance(60)
        vendor.now = NOW + dt.timedelta(minutes=minute)
        await house.plan()
        await house.work()
    assert await house.bars() == 123
    assert [state for state, _, _ in await house.gaps() if state != "REPAIRED"] == []
    assert await house.database.fetchval("select sum(slots) from coverage") == 123
    assert await house.database.fetchval("select sum(inserted + unchanged) from collection_runs") == 123
    told = await house.database.fetchval("select count(*) from ops.events where kind = 'ClockTurnedBack'")
    assert told == (1 if hours > 0 else 0)
