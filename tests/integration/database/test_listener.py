"""Wake-up hints: they arrive, and after a lost connection somebody says that hints may have been missed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from quasar.database.listener import HINT_AFTER_CONNECT, Listener
from quasar.database.pool import Database

Hints = asyncio.Queue[tuple[str, str]]


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[Hints]:
    """Run a listener on two channels and yield what it is told."""
    hints: Hints = asyncio.Queue()
    channels = {name: lambda payload, name=name: hints.put_nowait((name, payload)) for name in ("events", "runs")}
    listener = Listener(url, channels, application_name="listener-under-test", jitter=lambda: 0.0)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(listener.run())
        try:
            async with asyncio.timeout(60):
                await listener.connected.wait()
                yield hints
        finally:
            task.cancel()


async def test_a_notification_reaches_the_callback_of_its_channel(database: Database, database_url: str) -> None:
    async with listening(database_url) as hints:
        assert {await hints.get(), await hints.get()} == {("events", HINT_AFTER_CONNECT), ("runs", HINT_AFTER_CONNECT)}
        await database.execute("select pg_notify('runs', '42')")
        await database.execute("select pg_notify('others', 'not for us')")
        await database.execute("select pg_notify('events', '7')")
        assert [await hints.get(), await hints.get()] == [("runs", "42"), ("events", "7")]


async def test_a_notification_comes_only_when_its_transaction_commits(database: Database, database_url: str) -> None:
    async with listening(database_url) as hints:
        await hints.get()
        await hints.get()
        async with database.acquire() as connection:
            undone = connection.transaction()
            await undone.start()
            await connection.execute("select pg_notify('runs', 'undone')")
            await undone.rollback()
        await database.execute("select pg_notify('runs', 'done')")
        assert await hints.get() == ("runs", "done")


async def test_a_listener_that_was_cut_off_comes_back_and_says_look_again(
    database: Database, database_url: str
) -> None:
    async with listening(database_url) as hints:
        await hints.get()
        await hints.get()
        await database.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'listener-under-test'"
        )
        assert {await hints.get(), await hints.get()} == {("events", HINT_AFTER_CONNECT), ("runs", HINT_AFTER_CONNECT)}
        await database.execute("select pg_notify('runs', 'after')")
        assert await hints.get() == ("runs", "after")


async def test_a_listener_waits_for_a_server_that_is_not_there_yet(database_url: str) -> None:
    attempts: asyncio.Queue[float] = asyncio.Queue()

    class Impatient:
        async def sleep(self, seconds: float) -> None:
            attempts.put_nowait(seconds)
            await asyncio.sleep(0)

    listener = Listener(
        "postgresql://quasar:x@127.0.0.1:1/quasar",
        {"events": lambda _payload: None},
        clock=Impatient(),  # type: ignore[arg-type]  # only its sleep is used
        jitter=lambda: 1.0,
    )
    task = asyncio.create_task(listener.run())
    async with asyncio.timeout(60):
        pauses = [await attempts.get() for _ in range(9)]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0, 15.0]
    assert not listener.connected.is_set()


async def test_a_payload_beyond_the_servers_limit_is_the_senders_error(database: Database) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await database.execute("select pg_notify('events', $1)", "x" * 8000)
