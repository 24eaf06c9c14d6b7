"""What vendors do on bad days, through a provider in its own process: nothing is lost and nothing is twice."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from quasar.config import DATAHUB
from quasar.database.pool import Database
from quasar.model.instants import to_ns
from quasar_proto.datahub.v1 import provider_service_pb2 as providers
from quasar_proto.datahub.v1.provider_service_pb2_grpc import ProviderServiceStub
from tests.integration.datahub.paged_provider import MINUTE_NS
from tests.integration.datahub.paged_vendor import BadPage, PagedVendor, add_paged, row
from tests.integration.datahub.registry_rows import subscribe
from tests.integration.services.conftest import Bearers, as_

PATIENCE_S = 40
PAGES = 10


@pytest_asyncio.fixture(loop_scope="session")
async def vendor() -> AsyncIterator[PagedVendor]:
    async with PagedVendor() as running:
        yield running


def start_time() -> dt.datetime:
    """A thousand minutes ago."""
    return dt.datetime.now(dt.UTC).replace(second=0, microsecond=0) - dt.timedelta(minutes=100 * PAGES)


async def wanted(database: Database, vendor: PagedVendor, *symbols: str) -> dt.datetime:
    """Subscribe to the last thousand minutes, on a schedule that does not fire in the course of a test."""
    start = start_time()
    await subscribe(database, await add_paged(database, vendor), *symbols, start=start, cron="0 0 1 1 *")
    return start


RUNS = "(select * from datahub.collection_runs where kind <> 'MAINTENANCE') runs"
ATTEMPTS = f"(select a.* from datahub.run_attempts a join {RUNS} using (run_id)) attempts"


async def hurry(database: Database) -> None:
    """Let runs that back off and gaps that wait be due now: what a test need not sit through."""
    await database.execute(
        "update datahub.collection_runs set next_attempt_at = now() where state = 'BACKING_OFF' and error is not null"
    )
    await database.execute("update datahub.gaps set next_attempt_at = now() where state = 'OPEN'")
    await database.execute("select pg_notify('quasar_collection', 'work')")


async def complete(database: Database, rows: int, *, hurried: bool = True) -> list[Any]:
    """Wait until so many bars are there, every run has ended and no gap is open; return the runs."""
    statement = """select (select count(*) from datahub.historical_data) as bars,
        (select count(*) from datahub.collection_runs where finished_at is null and kind <> 'MAINTENANCE') as active,
        (select count(*) from datahub.gaps where state <> 'REPAIRED') as gaps"""
    found: Any = None
    try:
        async with asyncio.timeout(PATIENCE_S):
            while found is None or found["bars"] < rows or found["active"] or found["gaps"]:
                await asyncio.sleep(0.1)
                found = await database.fetchrow(statement)
                if hurried:
                    await hurry(database)
    except TimeoutError:
        runs = await database.fetch(f"select state, trigger, attempts, error, slots_gap from {RUNS}")
        raise AssertionError(f"{dict(found)} {[dict(run) for run in runs]}") from None
    return await database.fetch(f"select * from {RUNS} order by run_id")


async def nothing_lost_nothing_twice(database: Database, start: dt.datetime, symbols: int = 1) -> None:
    """Every slot has its one bar with the vendor's prices, and the ledger says so."""
    rows = await database.fetch(
        "select series_id, open_time, open, high, low, close, volume, revision from datahub.historical_data "
        "order by series_id, open_time"
    )
    assert len({(each["series_id"], each["open_time"]) for each in rows}) == len(rows) == 100 * PAGES * symbols
    first = to_ns(start)
    for place, each in enumerate(rows):
        time = first + place % (100 * PAGES) * MINUTE_NS
        assert [to_ns(each["open_time"]), *tuple(each)[2:7]] == row(time)
        assert each["revision"] == 0
    states = await database.fetch("select state, sum(slots) as slots from datahub.coverage group by state")
    assert {each["state"] for each in states} <= {1, 6}
    assert sum(each["slots"] for each in states) == 100 * PAGES * symbols


async def events(database: Database) -> list[str]:
    rows = await database.fetch("select kind from ops.events where service = 'datahub' order by id")
    return [each["kind"] for each in rows if each["kind"].startswith(("Run", "Bars", "Quality"))]


@pytest.mark.parametrize(
    ("fault", "reason", "words"),
    [
        ("error", "VENDOR_FAILED", "out of memory"),
        ("busy", "VENDOR_FAILED", "slow down"),
        ("html", "VENDOR_FAILED", "moving to a new home"),
        ("silence", "VENDOR_FAILED", "did not answer in time"),
    ],
)
async def test_a_page_that_fails_costs_an_attempt_and_no_bar(
    start: Any, database: Database, vendor: PagedVendor, fault: str, reason: str, words: str
) -> None:
    vendor.bad.append(BadPage(7, fault))
    begin = await wanted(database, vendor, "A")
    async with start(DATAHUB):
        (run,) = await complete(database, 100 * PAGES)
    assert (run["state"], run["attempts"], run["inserted"], run["unchanged"]) == ("SUCCEEDED", 2, 1000, 0)
    await nothing_lost_nothing_twice(database, begin)
    # What had come before the fault was not asked for again.
    assert [vendor.calls[f"A {page}"] for page in range(1, PAGES + 1)] == [1] * 6 + [2] + [1] * 3
    first, second = await database.fetch(f"select * from {ATTEMPTS} order by attempt")
    assert (first["error"]["reason"], words in first["error"]["message"]) == (reason, True)
    assert (first["retry_after_s"], second["error"]) == (2.0 if fault == "busy" else None, None)
    assert await events(database) == ["RunAttemptFailed"]


async def test_a_vendor_that_asks_to_wait_is_not_asked_before(
    start: Any, database: Database, vendor: PagedVendor
) -> None:
    vendor.bad.append(BadPage(7, "busy"))
    await wanted(database, vendor, "A")
    async with start(DATAHUB):
        run: Any = None
        async with asyncio.timeout(PATIENCE_S):
            while run is None or run["state"] != "BACKING_OFF":
                await asyncio.sleep(0.05)
                run = await database.fetchrow(f"select * from {RUNS}")
        assert run["next_attempt_at"] - run["updated_at"] >= dt.timedelta(seconds=2)
        assert vendor.calls["A 7"] == 1


@pytest.mark.parametrize("fault", ["twice", "reversed"])
async def test_pages_that_repeat_or_run_backwards_are_stored_once_and_in_order(
    start: Any, database: Database, vendor: PagedVendor, fault: str
) -> None:
    vendor.bad.append(BadPage(3, fault))
    begin = await wanted(database, vendor, "A")
    async with start(DATAHUB):
        (run,) = await complete(database, 100 * PAGES)
    await nothing_lost_nothing_twice(database, begin)
    odd = 100 if fault == "twice" else 99
    assert (run["state"], run["fetched"], run["inserted"]) == ("SUCCEEDED", 1000 + (fault == "twice") * 100, 1000)
    (noted,) = await database.fetchval(f"select log_lines from {ATTEMPTS}")
    assert noted.startswith(f"{odd} rows came again or out of order")
    assert await events(database) == ["RunAnswerIrregular"]


async def test_half_a_page_is_a_gap_that_repairs_itself_and_an_event(
    start: Any, database: Database, vendor: PagedVendor
) -> None:
    vendor.bad.append(BadPage(4, "half"))
    begin = await wanted(database, vendor, "A")
    async with start(DATAHUB):
        runs = await complete(database, 100 * PAGES)
    assert [(run["trigger"], run["state"]) for run in runs] == [("INITIAL", "PARTIAL"), ("REPAIR", "SUCCEEDED")]
    assert runs[0]["slots_gap"] == 50
    await nothing_lost_nothing_twice(database, begin)
    assert "RunIncomplete" in await events(database)


async def test_a_vendor_that_never_answers_fails_the_run_and_costs_no_other_its_bars(
    start: Any, database: Database, vendor: PagedVendor
) -> None:
    vendor.bad.append(BadPage(5, "html", times=5))
    begin = await wanted(database, vendor, "A")
    async with start(DATAHUB):
        runs = await complete(database, 100 * PAGES)
    assert [(run["trigger"], run["state"], run["attempts"]) for run in runs[:1]] == [("INITIAL", "FAILED", 5)]
    assert runs[0]["slots_gap"] == 600
    assert {run["trigger"] for run in runs[1:]} == {"REPAIR"}
    await nothing_lost_nothing_twice(database, begin)
    told = await events(database)
    assert (told.count("RunAttemptFailed"), told.count("RunFailed")) == (4, 1)


async def test_a_plug_in_that_is_killed_in_mid_run_is_told_and_costs_nothing(
    start: Any, bearers: Bearers, database: Database, vendor: PagedVendor
) -> None:
    vendor.pace_s = 0.1
    begin = await wanted(database, vendor, "A")
    async with start(DATAHUB) as hub:
        stub = hub.stub(ProviderServiceStub)
        async with asyncio.timeout(PATIENCE_S):
            while not vendor.calls["A 4"]:  # noqa: ASYNC110  # the vendor tells nobody
                await asyncio.sleep(0.01)
        shown = await stub.GetProvider(providers.GetProviderRequest(name="paged"), **as_(bearers.viewer))
        os.kill(shown.provider.process.pid, signal.SIGKILL)
        vendor.pace_s = 0.0
        (run,) = await complete(database, 100 * PAGES)
    assert (run["state"], run["attempts"]) == ("SUCCEEDED", 2)
    await nothing_lost_nothing_twice(database, begin)
    assert await events(database) == ["RunAttemptFailed"]


async def test_two_replicas_of_the_service_do_every_run_once(
    start: Any, database: Database, vendor: PagedVendor
) -> None:
    symbols = [f"S{number}" for number in range(6)]
    vendor.pace_s = 0.02
    begin = await wanted(database, vendor, *symbols)
    async with start(DATAHUB), start(DATAHUB):
        runs = await complete(database, 100 * PAGES * len(symbols))
    assert [(run["state"], run["attempts"]) for run in runs] == [("SUCCEEDED", 1)] * len(symbols)
    assert {count for call, count in vendor.calls.items() if call.split()[0] in symbols} == {1}
    await nothing_lost_nothing_twice(database, begin, len(symbols))
