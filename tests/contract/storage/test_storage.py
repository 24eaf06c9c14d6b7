"""What both storage back ends promise: native partitions always, TimescaleDB where a server with it is named."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import asyncpg
import pytest
import pytest_asyncio

from quasar.database.migrations import migrate
from quasar.database.pool import Database
from quasar.database.roles import ensure_roles, service_url
from quasar.database.schema import prepare_schema
from quasar.database.storage import NativeStorage, Storage, open_storage
from quasar.secrets import SystemContext
from quasar.testing.database import TestDatabaseServer

TICKS, BARS = "datahub.ticks", "datahub.historical_data"
JANUARY = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
INSERT_TICK = "insert into ticks (series_id, event_time, receive_time, sequence, price) values (1, $1, $1, $2, 1.0)"
INSERT_BAR = (
    "insert into historical_data (series_id, open_time, close_time, open, high, low, close) "
    "values (1, $1, $1::timestamptz + interval '1 day', 1, 2, 0.5, 1.5)"
)


@dataclass(frozen=True, slots=True)
class Subject:
    """A storage under test."""

    storage: Storage
    database: Database
    """The database as the DataHub sees it: no owner's rights."""
    owner_url: str

    @property
    def native(self) -> bool:
        return not self.storage.mode.timescaledb


@pytest_asyncio.fixture(loop_scope="session", params=["native", "timescaledb"])
async def subject(
    request: pytest.FixtureRequest, system_context: SystemContext, database_server: TestDatabaseServer
) -> AsyncIterator[Subject]:
    """Yield each storage on a database of its own."""
    server = database_server if request.param == "native" else timescale_server(database_server)
    name = await server.create()
    try:
        url = server.url_of(name)
        if request.param == "native":
            await migrate(url, after=lambda connection: ensure_roles(connection, system_context))
        else:
            await prepare_schema(url, system_context)
        datahub = service_url(url, "datahub", system_context)
        async with await Database.open(datahub, application_name="quasar-datahub", max_size=6) as database:
            storage = await open_storage(database)
            assert storage.mode.timescaledb == (request.param == "timescaledb")
            yield Subject(storage, database, url)
    finally:
        await server.drop(name)


def timescale_server(server: TestDatabaseServer) -> TestDatabaseServer:
    """Return the server with TimescaleDB that the environment names."""
    url = os.environ.get("QUASAR_TEST_TIMESCALE_URL")
    if not url:
        pytest.skip("QUASAR_TEST_TIMESCALE_URL names no server with TimescaleDB")
    return replace(server, url=url)


async def test_what_was_ensured_can_be_stored(subject: Subject) -> None:
    await subject.storage.ensure(TICKS, JANUARY, JANUARY + 3 * DAY)
    for number in range(3):
        await subject.database.execute(INSERT_TICK, JANUARY + number * DAY, number)
    await subject.database.execute(INSERT_TICK, JANUARY + 3 * DAY - dt.timedelta(microseconds=1), 4)
    assert await subject.database.fetchval("select count(*) from ticks") == 4


async def test_nothing_is_made_twice(subject: Subject) -> None:
    made = await subject.storage.ensure(TICKS, JANUARY, JANUARY + 3 * DAY)
    assert made == (3 if subject.native else 0)
    assert await subject.storage.ensure(TICKS, JANUARY, JANUARY + 3 * DAY) == 0
    other = await open_storage(subject.database)
    assert await other.ensure(TICKS, JANUARY - DAY, JANUARY + 3 * DAY) == (1 if subject.native else 0)


async def test_several_writers_may_ensure_at_once(subject: Subject) -> None:
    storages = [await open_storage(subject.database) for _ in range(5)]
    made = await asyncio.gather(*(s.ensure(TICKS, JANUARY, JANUARY + 5 * DAY) for s in storages))
    assert sum(made) == (5 if subject.native else 0)


async def test_making_room_does_not_wait_for_a_transaction_that_writes(subject: Subject) -> None:
    await subject.storage.ensure(TICKS, JANUARY, JANUARY + DAY)
    async with subject.database.transaction() as connection:
        await connection.execute(INSERT_TICK, JANUARY, 1)
        async with asyncio.timeout(60):
            await subject.storage.ensure(TICKS, JANUARY + DAY, JANUARY + 2 * DAY)
    assert await subject.database.fetchval("select count(*) from ticks") == 1


async def test_slices_come_in_order_and_without_overlap(subject: Subject) -> None:
    await subject.storage.ensure(TICKS, JANUARY, JANUARY + 4 * DAY)
    for number in (3, 0, 2):
        await subject.database.execute(INSERT_TICK, JANUARY + number * DAY, number)
    slices = await subject.storage.slices(TICKS)
    assert all(before.end <= after.start for before, after in itertools.pairwise(slices))
    for number in (0, 2, 3):
        time = JANUARY + number * DAY
        assert sum(piece.start <= time < piece.end for piece in slices) == 1
    assert all(piece.size_bytes > 0 for piece in slices)
    assert len({piece.name for piece in slices}) == len(slices)


async def test_only_slices_that_end_before_the_bound_are_dropped(subject: Subject) -> None:
    await subject.storage.ensure(TICKS, JANUARY, JANUARY + 4 * DAY)
    for number in range(4):
        await subject.database.execute(INSERT_TICK, JANUARY + number * DAY, number)
    assert await subject.storage.drop_older_than(TICKS, JANUARY + 2 * DAY + dt.timedelta(hours=1)) == 2
    kept = await subject.database.fetch("select sequence from ticks order by sequence")
    assert [row["sequence"] for row in kept] == [2, 3]


async def test_what_was_dropped_can_be_made_again(subject: Subject) -> None:
    await subject.storage.ensure(TICKS, JANUARY, JANUARY + DAY)
    await subject.storage.drop_older_than(TICKS, JANUARY + DAY)
    await subject.storage.ensure(TICKS, JANUARY, JANUARY + DAY)
    await subject.database.execute(INSERT_TICK, JANUARY, 1)
    assert await subject.database.fetchval("select count(*) from ticks") == 1


async def test_retention_is_remembered_and_can_be_taken_back(subject: Subject) -> None:
    await subject.storage.set_retention(TICKS, dt.timedelta(days=30))
    query = "select retention from ops.storage_tables where table_name = $1"
    assert await subject.database.fetchval(query, TICKS) == dt.timedelta(days=30)
    await subject.storage.set_retention(TICKS, dt.timedelta(days=60))
    await subject.storage.set_retention(TICKS, None)
    assert await subject.database.fetchval(query, TICKS) is None


async def test_retention_drops_what_is_older_where_the_database_does_not_do_so_itself(subject: Subject) -> None:
    await subject.storage.ensure(TICKS, JANUARY, JANUARY + 10 * DAY)
    assert await subject.storage.apply_retention(TICKS, JANUARY + 10 * DAY) == 0
    await subject.storage.set_retention(TICKS, 7 * DAY)
    assert await subject.storage.apply_retention(TICKS, JANUARY + 10 * DAY) == (3 if subject.native else 0)
    if not subject.native:
        jobs = "select count(*) from timescaledb_information.jobs where proc_name = 'policy_retention'"
        assert await subject.database.fetchval(jobs) == 1


async def test_compression_is_done_or_remembered(subject: Subject) -> None:
    assert await subject.storage.set_compression(BARS, dt.timedelta(days=60)) is not subject.native
    query = "select compress_after from ops.storage_tables where table_name = $1"
    assert await subject.database.fetchval(query, BARS) == dt.timedelta(days=60)
    assert ("compression" in subject.storage.mode.features) is not subject.native
    await subject.storage.set_compression(BARS, dt.timedelta(days=90))
    await subject.storage.set_compression(BARS, None)
    assert await subject.database.fetchval(query, BARS) is None


async def test_bars_of_sixty_years_need_few_slices(subject: Subject) -> None:
    start = dt.datetime(1962, 1, 2, tzinfo=dt.UTC)
    await subject.storage.ensure(BARS, start, JANUARY)
    await subject.database.execute(INSERT_BAR, start)
    await subject.database.execute(INSERT_BAR, JANUARY - DAY)
    assert await subject.database.fetchval("select count(*) from bars") == 2
    assert len(await subject.storage.slices(BARS)) <= 38 + 26 * 12


async def test_an_unknown_table_is_named(subject: Subject) -> None:
    with pytest.raises(
        asyncpg.UndefinedTableError, match=r"table datahub\.bar_last must be one of the time-partitioned"
    ):
        await subject.storage.drop_older_than("datahub.bar_last", JANUARY)


@pytest.mark.parametrize("keep", [dt.timedelta(0), dt.timedelta(days=-1)])
async def test_keeping_nothing_is_refused(subject: Subject, keep: dt.timedelta) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match="must be"):
        await subject.storage.set_retention(TICKS, keep)
    with pytest.raises(asyncpg.InvalidParameterValueError, match="must be"):
        await subject.storage.set_compression(TICKS, keep)


async def test_the_mode_names_the_server(subject: Subject) -> None:
    mode = subject.storage.mode
    assert mode.server_version[0].isdigit()
    assert " " not in mode.server_version
    assert bool(mode.extension_version) is not subject.native


async def test_a_row_without_room_is_refused_and_can_be_stored_after_making_it(subject: Subject) -> None:
    if not subject.native:
        pytest.skip("TimescaleDB makes room by itself")
    with pytest.raises(asyncpg.CheckViolationError):
        await subject.database.execute(INSERT_TICK, JANUARY, 1)
    await subject.storage.ensure(TICKS, JANUARY, JANUARY + DAY)
    await subject.database.execute(INSERT_TICK, JANUARY, 1)


async def test_partitions_that_somebody_else_dropped_can_be_forgotten(subject: Subject) -> None:
    if not isinstance(subject.storage, NativeStorage):
        pytest.skip("TimescaleDB makes room by itself")
    await subject.storage.ensure(TICKS, JANUARY, JANUARY + DAY)
    await (await open_storage(subject.database)).drop_older_than(TICKS, JANUARY + DAY)
    assert await subject.storage.ensure(TICKS, JANUARY, JANUARY + DAY) == 0
    subject.storage.forget()
    assert await subject.storage.ensure(TICKS, JANUARY, JANUARY + DAY) == 1


@pytest.mark.parametrize(
    ("start", "end", "error"),
    [
        (JANUARY, JANUARY, asyncpg.InvalidParameterValueError),
        (JANUARY, JANUARY - DAY, asyncpg.InvalidParameterValueError),
        (JANUARY, dt.datetime.max.replace(tzinfo=dt.UTC), asyncpg.InvalidParameterValueError),  # sent as infinity
        (JANUARY, JANUARY + 4200 * DAY, asyncpg.ProgramLimitExceededError),
    ],
    ids=["empty", "backwards", "endless", "too long"],
)
async def test_ranges_that_make_no_sense_are_refused(
    subject: Subject, start: dt.datetime, end: dt.datetime, error: type[Exception]
) -> None:
    if not subject.native:
        pytest.skip("TimescaleDB makes room by itself")
    with pytest.raises(error):
        await subject.storage.ensure(TICKS, start, end)
    assert await subject.storage.slices(TICKS) == ()


async def test_partitions_begin_at_midnight_utc_whatever_the_time_zone_of_the_session(subject: Subject) -> None:
    if not subject.native:
        pytest.skip("is about native partitions")
    async with subject.database.acquire() as connection:
        await connection.execute("set timezone = 'America/New_York'")
        day = dt.datetime(2026, 3, 8, 12, tzinfo=dt.UTC)
        await connection.execute("select ops.ensure_partitions($1, $2, $3)", TICKS, day, day + 2 * DAY)
    slices = await subject.storage.slices(TICKS)
    assert [piece.start for piece in slices] == [dt.datetime(2026, 3, d, tzinfo=dt.UTC) for d in (8, 9, 10)]
    assert [piece.end for piece in slices] == [dt.datetime(2026, 3, d, tzinfo=dt.UTC) for d in (9, 10, 11)]
