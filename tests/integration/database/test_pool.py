"""The pool on a real server: value types, clean sessions, and errors that say what is wrong."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from decimal import Decimal

import asyncpg
import pytest

from quasar.database.pool import Database, connect
from quasar.errors import DatabaseUnavailable, DeadlineExceeded

NOWHERE = "postgresql://quasar:secret@127.0.0.1:1/quasar"


async def test_values_keep_their_types(database: Database) -> None:
    value = {"a": [1, None, "ü"], "b": {"c": True}}
    assert await database.fetchval("select $1::jsonb", value) == value
    assert await database.fetchval("select $1::json", value) == value
    assert await database.fetchval("select 1.10::numeric") == Decimal("1.10")
    time = dt.datetime(2026, 1, 5, 12, 0, 0, 1, tzinfo=dt.UTC)
    assert await database.fetchval("select $1::timestamptz", time) == time
    assert (await database.fetchval("select now()")).utcoffset() == dt.timedelta(0)
    identity = uuid.uuid4()
    assert await database.fetchval("select $1::uuid", identity) == identity


async def test_text_times_are_read_in_utc(database: Database) -> None:
    assert await database.fetchval("select '2026-07-01 00:00'::timestamptz::text") == "2026-07-01 00:00:00+00"


async def test_a_transaction_is_kept_or_undone_as_a_whole(database: Database) -> None:
    insert = "insert into common_symbols (symbol) values ($1)"

    async def store(*symbols: str) -> None:
        async with database.transaction() as connection:
            for symbol in symbols:
                await connection.execute(insert, symbol)

    await store("KEPT")
    with pytest.raises(asyncpg.CheckViolationError):
        await store("UNDONE", " not trimmed ")
    assert [row["symbol"] for row in await database.fetch("select symbol from common_symbols")] == ["KEPT"]


async def test_a_read_only_transaction_refuses_to_write(database: Database) -> None:
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        async with database.transaction(readonly=True) as connection:
            await connection.execute("insert into common_symbols (symbol) values ('X')")


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ("set work_mem = '77MB'", "select current_setting('work_mem') = '77MB'"),
        ("select set_config('work_mem', '77MB', false)", "select current_setting('work_mem') = '77MB'"),
        (
            "select pg_advisory_lock(4711)",
            "select exists (select from pg_locks where locktype = 'advisory' and pid = pg_backend_pid())",
        ),
        ("listen some_channel", "select exists (select from pg_listening_channels())"),
    ],
)
async def test_what_one_user_of_a_connection_changes_the_next_one_does_not_meet(
    database_url: str, change: str, left: str
) -> None:
    async with await Database.open(database_url, application_name="tests", min_size=1, max_size=1) as database:
        async with database.acquire() as connection:
            await connection.fetch(change)
            assert await connection.fetchval(left)
        assert not await database.fetchval(left)


async def test_a_transaction_that_was_left_open_is_rolled_back(database_url: str) -> None:
    async with await Database.open(database_url, application_name="tests", min_size=1, max_size=1) as database:
        problems: list[object] = []
        loop = asyncio.get_running_loop()
        former = loop.get_exception_handler()
        loop.set_exception_handler(lambda _loop, context: problems.append(context["message"]))
        try:
            async with database.acquire() as connection:
                await connection.execute("begin; insert into registry.common_symbols (symbol) values ('OPEN')")
        finally:
            loop.set_exception_handler(former)
        assert await database.fetchval("select count(*) from registry.common_symbols") == 0
        assert len(problems) == 1


async def test_a_clean_connection_goes_back_without_a_statement(database_url: str) -> None:
    async with await Database.open(database_url, application_name="tests", min_size=1, max_size=1) as database:
        async with database.acquire() as connection:
            await connection.fetchval("select 1")
            await connection.execute("create temp table staging (n int)")
            own = connection.get_server_pid()
        other = await connect(database_url, application_name="observer")
        try:
            last = await other.fetchval("select query from pg_stat_activity where pid = $1", own)
        finally:
            await other.close()
        assert last == "create temp table staging (n int)"
        assert await database.fetchval("select count(*) from staging") == 0


async def test_a_server_that_is_not_there_is_unavailable_and_no_password_is_told() -> None:
    with pytest.raises(DatabaseUnavailable) as caught:
        await Database.open(NOWHERE, application_name="tests")
    assert "secret" not in str(caught.value)
    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        await connect(NOWHERE, application_name="tests")


async def test_a_wrong_password_is_no_reason_to_hang(database_url: str) -> None:
    wrong = database_url.replace("postgresql://quasar:", "postgresql://nobody_here:", 1)
    with pytest.raises(DatabaseUnavailable):
        await Database.open(wrong, application_name="tests")


async def test_a_connection_that_is_cut_means_unavailable_and_the_pool_recovers(
    database: Database, database_url: str
) -> None:
    other = await connect(database_url, application_name="operator")

    async def use_a_connection_that_is_cut() -> None:
        async with database.acquire() as connection:
            await other.fetchval("select pg_terminate_backend($1)", connection.get_server_pid())
            await connection.fetchval("select pg_sleep(5)")

    try:
        with pytest.raises(DatabaseUnavailable):
            await use_a_connection_that_is_cut()
    finally:
        await other.close()
    assert await database.ready()
    assert await database.fetchval("select 1") == 1


async def test_a_statement_that_runs_too_long_exceeds_its_deadline(database_url: str) -> None:
    options = {"application_name": "tests", "statement_timeout_s": 0.05}
    async with await Database.open(database_url, **options) as database:
        with pytest.raises(DeadlineExceeded):
            await database.fetchval("select pg_sleep(5)")


async def test_a_pool_that_is_used_up_says_so(database_url: str) -> None:
    async with await Database.open(database_url, application_name="tests", min_size=0, max_size=1) as database:
        async with database.acquire():
            with pytest.raises(DatabaseUnavailable, match=r"no database connection became free within 0\.05 seconds"):
                async with database.acquire(timeout=0.05):
                    pytest.fail("there was a second connection")
            assert not await database.ready(timeout=0.05)
        assert await database.ready()


async def test_mistakes_in_sql_stay_what_they_are(database: Database) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        await database.fetch("select * from no_such_table")


async def test_errors_of_the_code_inside_are_not_taken_for_the_databases(database: Database) -> None:
    with pytest.raises(ConnectionRefusedError):
        async with database.acquire():
            raise ConnectionRefusedError("a vendor's server")
    with pytest.raises(TimeoutError):
        async with database.transaction():
            raise TimeoutError


async def test_the_server_knows_who_connects(database_url: str) -> None:
    async with await Database.open(database_url, application_name="quasar-datahub") as database:
        assert await database.fetchval("select current_setting('application_name')") == "quasar-datahub"


async def test_a_closed_database_is_not_ready(database_url: str) -> None:
    database = await Database.open(database_url, application_name="tests")
    await database.close()
    assert not await database.ready()
    with pytest.raises(DatabaseUnavailable):
        await database.fetchval("select 1")
