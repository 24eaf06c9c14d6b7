"""A database that grew up on plain PostgreSQL moves to TimescaleDB in place, with all its rows, views and rights."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest
import pytest_asyncio

from quasar.database.capabilities import TIMESCALEDB, detect_capabilities
from quasar.database.hypertables import upgrade_storage
from quasar.database.migrations import migrate
from quasar.database.pool import Database, connect
from quasar.database.roles import ensure_roles, service_url
from quasar.database.schema import prepare_schema
from quasar.database.storage import open_storage
from quasar.secrets import SystemContext
from quasar.testing.database import TestDatabaseServer

START = dt.datetime(1995, 1, 1, tzinfo=dt.UTC)
END = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
DAILY_BARS = """
insert into historical_data (series_id, open_time, close_time, open, high, low, close, volume)
select s, t, t + interval '1 day', s, s + 1, s - 1, extract(day from t), null
from generate_series(1, 3) s, generate_series($1::timestamptz, $2::timestamptz - interval '1 day', interval '1 day') t
"""
FINGERPRINT = "select count(*), md5(string_agg(bars::text, ',' order by open_time, series_id)) from bars"


@pytest_asyncio.fixture(loop_scope="session")
async def native_url(database_server: TestDatabaseServer, system_context: SystemContext) -> AsyncIterator[str]:
    """Yield a database on a server with TimescaleDB that has not noticed it yet."""
    address = os.environ.get("QUASAR_TEST_TIMESCALE_URL")
    if not address:
        pytest.skip("QUASAR_TEST_TIMESCALE_URL names no server with TimescaleDB")
    server = replace(database_server, url=address)
    name = await server.create()
    try:
        await migrate(server.url_of(name), after=lambda connection: ensure_roles(connection, system_context))
        yield server.url_of(name)
    finally:
        await server.drop(name)


async def test_rows_views_and_rights_survive_the_move(native_url: str, system_context: SystemContext) -> None:
    datahub = service_url(native_url, "datahub", system_context)
    async with await Database.open(datahub, application_name="quasar-datahub") as database:
        storage = await open_storage(database)
        assert not storage.mode.timescaledb
        await storage.ensure("datahub.historical_data", START, END)
        await database.execute(DAILY_BARS, START, END)
        await storage.set_retention("datahub.ticks", dt.timedelta(days=30))
        await storage.set_compression("datahub.historical_data", dt.timedelta(days=60))
        before = tuple(await database.fetchrow(FINGERPRINT))
        slices = await storage.slices("datahub.historical_data")

    await prepare_schema(native_url, system_context)

    async with await Database.open(datahub, application_name="quasar-datahub") as database:
        storage = await open_storage(database)
        assert storage.mode.timescaledb
        assert tuple(await database.fetchrow(FINGERPRINT)) == before
        assert [(s.start, s.end) for s in await storage.slices("datahub.historical_data")] == [
            (s.start, s.end) for s in slices
        ]
        jobs = await database.fetch(
            "select proc_name, hypertable_name from timescaledb_information.jobs where hypertable_name is not null"
        )
        assert {tuple(job) for job in jobs} == {
            ("policy_retention", "ticks"),
            ("policy_compression", "historical_data"),
            ("policy_refresh_continuous_aggregate", "hourly_bars"),
        }
        later = END + dt.timedelta(days=400)
        await database.execute(DAILY_BARS, later, later + dt.timedelta(days=2))
        with pytest.raises(asyncpg.UniqueViolationError):
            await database.execute(DAILY_BARS, START, START + dt.timedelta(days=1))
        assert await storage.drop_older_than("datahub.historical_data", dt.datetime(2000, 1, 1, tzinfo=dt.UTC)) == 5

    strategy = service_url(native_url, "strategy", system_context)
    async with await Database.open(strategy, application_name="quasar-strategy") as database:
        assert await database.fetchval("select min(open_time) from bars") == dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await database.execute("delete from datahub.historical_data")


async def test_compressed_bars_are_read_like_others(native_url: str, system_context: SystemContext) -> None:
    await prepare_schema(native_url, system_context)
    settings = {"search_path": "datahub, ops, public"}
    async with await Database.open(native_url, application_name="tests", settings=settings) as database:
        storage = await open_storage(database)
        start, end = dt.datetime(2025, 1, 1, tzinfo=dt.UTC), dt.datetime(2025, 7, 1, tzinfo=dt.UTC)
        await database.execute(DAILY_BARS, start, end)
        one = "select open_time, close from bars where series_id = 2 and open_time >= $1 order by open_time"
        newest = "select open_time, close from bars where series_id = 2 order by open_time desc limit 5"
        before = [await database.fetch(one, start), await database.fetch(newest)]
        await storage.set_compression("datahub.historical_data", dt.timedelta(days=30))
        for piece in await storage.slices("datahub.historical_data"):
            await database.execute(f"call convert_to_columnstore('{piece.name}', if_not_columnstore => true)")
        assert all(piece.compressed for piece in await storage.slices("datahub.historical_data"))
        assert [await database.fetch(one, start), await database.fetch(newest)] == before
        await database.execute("update historical_data set close = 7 where series_id = 2 and open_time = $1", start)
        assert await database.fetchval(one.replace("open_time, close", "close", 1), start) == 7


async def test_a_second_start_moves_nothing(native_url: str) -> None:
    connection = await connect(native_url, application_name="tests")
    try:
        assert TIMESCALEDB in await detect_capabilities(connection)
        moved = await upgrade_storage(connection)
        assert set(moved) >= {"datahub.historical_data", "datahub.live_data", "datahub.ticks", "datahub.bar_revisions"}
        assert await upgrade_storage(connection) == ()
    finally:
        await connection.close()


async def test_comments_stay_with_tables_and_views(native_url: str) -> None:
    connection = await connect(native_url, application_name="tests")
    try:
        await connection.execute("comment on view datahub.bars is 'One read path'")
        await connection.execute("create view datahub.closes as select open_time, close from datahub.bars")
        await upgrade_storage(connection)
        query = "select obj_description($1::text::regclass, 'pg_class')"
        assert await connection.fetchval(query, "datahub.historical_data") == "Bars fetched as history"
        assert await connection.fetchval(query, "datahub.bars") == "One read path"
        assert await connection.fetch("select * from datahub.closes") == []
    finally:
        await connection.close()
