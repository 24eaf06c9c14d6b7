"""The log of events: recorded with what it tells of, listed in pages, watched without loss."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from quasar.database.pool import Database
from quasar.errors import InvalidCursor, InvalidFilter
from quasar.ops.actors import Actor
from quasar.ops.events import EventBatch, Events, Severity
from quasar.ops.roles import Role

PATIENCE_S = 60


@asynccontextmanager
async def open_transaction(database: Database) -> AsyncIterator[Any]:
    """Yield a connection in a transaction that the test ends itself: `transaction.commit()` or `rollback()`."""
    async with database.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        connection_and_transaction = (connection, transaction)
        yield connection_and_transaction


async def record(events: Events, database: Database, *kinds: str, **more: Any) -> None:
    for kind in kinds:
        async with database.transaction() as connection:
            await events.record(connection, kind, f"{kind}.", **more)
    events.hint.give()


class Reader:
    """Reads a watch step by step."""

    def __init__(self, batches: Any) -> None:
        self._batches = batches
        self.cursor = ""

    async def batch(self) -> EventBatch:
        async with asyncio.timeout(PATIENCE_S):
            found: EventBatch = await anext(self._batches)
        self.cursor = found.cursor
        return found

    async def kinds(self, count: int) -> list[str]:
        """Return the kinds of the next `count` events."""
        found: list[str] = []
        while len(found) < count:
            found += [event.kind for event in (await self.batch()).events]
        return found


@asynccontextmanager
async def watching(events: Events, **how: Any) -> AsyncIterator[Reader]:
    async with aclosing(events.watch(**{"heartbeat_s": 0.1, **how})) as batches:
        yield Reader(batches)


async def test_an_event_is_there_only_if_its_transaction_was_committed(events: Events, database: Database) -> None:
    async def fails() -> None:
        async with database.transaction() as connection:
            await events.record(connection, "CodeActivated", "kraken 2 is active.")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fails()
    await record(events, database, "CodeUploaded")
    found, _ = await events.list()
    assert [event.kind for event in found] == ["CodeUploaded"]


async def test_an_event_comes_back_as_it_was_recorded(events: Events, database: Database) -> None:
    actor = Actor("ann", Role.OPERATOR, "request-1")
    async with database.transaction() as connection:
        event_id = await events.record(
            connection,
            "MappingChanged",
            "BTC was mapped to XBT.",
            subject_type="mapping",
            subject_name="BTC",
            severity=Severity.WARNING,
            data={"before": None, "after": {"symbol": "XBT", "weight": 1.5}},
            actor=actor,
        )
    [found], _ = await events.list()
    assert (found.event_id, found.service, found.kind, found.message) == (
        event_id,
        "registry",
        "MappingChanged",
        "BTC was mapped to XBT.",
    )
    assert (found.subject_type, found.subject_name, found.severity) == ("mapping", "BTC", Severity.WARNING)
    assert found.data == {"before": None, "after": {"symbol": "XBT", "weight": 1.5}}
    assert found.actor == actor
    assert (found.run_id, found.run_sequence) == ("", 0)


async def test_pages_cover_all_events_once_in_both_directions(events: Events, database: Database) -> None:
    await record(events, database, *(f"E{number}" for number in range(7)))
    for order, expected in (("", [6, 5, 4, 3, 2, 1, 0]), ("event_id", [0, 1, 2, 3, 4, 5, 6])):
        found: list[str] = []
        page_token = ""
        while True:
            page, page_token = await events.list(order_by=order, page_size=3, page_token=page_token)
            found += [event.kind for event in page]
            if not page_token:
                break
        assert found == [f"E{number}" for number in expected]


async def test_a_filter_chooses_events(events: Events, database: Database) -> None:
    await record(events, database, "GapDetected", severity=Severity.WARNING, subject_name="kraken BTC/USD 1min")
    await record(events, database, "GapRepaired", severity=Severity.INFO, subject_name="kraken BTC/USD 1min")
    await record(events, database, "FeedLost", severity=Severity.ERROR, subject_name="kraken")
    cases = {
        'severity >= "WARNING"': {"GapDetected", "FeedLost"},
        'kind = "Gap*"': {"GapDetected", "GapRepaired"},
        'subject_name : "btc" AND severity = INFO': {"GapRepaired"},
        'NOT service = "registry"': set(),
        'time > "2020-01-01T00:00:00Z" AND kind != "FeedLost"': {"GapDetected", "GapRepaired"},
    }
    for text, expected in cases.items():
        found, _ = await events.list(filter_text=text)
        assert {event.kind for event in found} == expected, text


async def test_a_page_token_of_another_query_is_refused(events: Events, database: Database) -> None:
    await record(events, database, "A", "B", "C")
    _, token = await events.list(page_size=1)
    with pytest.raises(InvalidCursor, match="same filter and ordering"):
        await events.list(page_size=1, page_token=token, filter_text='kind = "A"')
    with pytest.raises(InvalidFilter, match="order_by must be"):
        await events.list(order_by="time")


async def test_a_watch_begins_with_what_happens_from_now_on(events: Events, database: Database) -> None:
    await record(events, database, "Before")
    async with watching(events) as reader:
        assert (await reader.batch()).events == ()
        await record(events, database, "After")
        assert await reader.kinds(1) == ["After"]


async def test_a_watch_of_an_empty_log_gets_the_first_event(events: Events, database: Database) -> None:
    async with watching(events) as reader:
        await reader.batch()
        await record(events, database, "First")
        assert await reader.kinds(1) == ["First"]


async def test_a_watch_goes_on_after_its_cursor_with_nothing_lost_and_nothing_twice(
    events: Events, database: Database
) -> None:
    async with watching(events) as reader:
        await reader.batch()
        await record(events, database, "A", "B")
        assert await reader.kinds(2) == ["A", "B"]
        cursor = reader.cursor
    await record(events, database, "C", "D")
    async with watching(events, cursor=cursor) as reader:
        assert await reader.kinds(2) == ["C", "D"]


async def test_a_watch_since_a_time_begins_with_the_events_after_it(events: Events, database: Database) -> None:
    await record(events, database, "A", "B")
    found, _ = await events.list(order_by="event_id")
    async with watching(events, since=found[1].time) as reader:
        assert await reader.kinds(1) == ["B"]
    async with watching(events, since=found[1].time + dt.timedelta(hours=1)) as reader:
        await reader.batch()
        await record(events, database, "C")
        assert await reader.kinds(1) == ["C"]


async def test_a_watch_with_a_filter_still_moves_its_cursor_over_all_events(events: Events, database: Database) -> None:
    async with watching(events, filter_text='kind = "Wanted"') as reader:
        await reader.batch()
        await record(events, database, "Other", "Wanted", "Other")
        assert await reader.kinds(1) == ["Wanted"]
        newest, _ = await events.list(page_size=1)
        while reader.cursor != str(newest[0].event_id):
            await reader.batch()


async def test_heartbeats_carry_the_cursor_while_nothing_happens(events: Events, database: Database) -> None:
    await record(events, database, "A")
    async with watching(events, heartbeat_s=0.02) as reader:
        first, second = await reader.batch(), await reader.batch()
    assert first.events == second.events == ()
    assert first.cursor == second.cursor == str((await events.list())[0][0].event_id)


async def test_a_cursor_that_was_never_given_is_refused(events: Events, database: Database) -> None:
    await record(events, database, "A")
    for cursor in ("nonsense", "-1", "1.5", "999999", "١"):
        async with watching(events, cursor=cursor) as reader:
            with pytest.raises(InvalidCursor, match="must be a cursor"):
                await reader.batch()


async def test_an_event_that_is_committed_late_is_not_lost(events: Events, database: Database) -> None:
    """Its id is smaller than that of an event which was visible before it."""
    async with watching(events) as reader, open_transaction(database) as (slow, transaction):
        await reader.batch()
        await events.record(slow, "Slow", "Taken first, committed last.")
        await record(events, database, "Quick")
        for _ in range(3):
            assert (await reader.batch()).events == ()
        await transaction.commit()
        assert await reader.kinds(2) == ["Slow", "Quick"]


async def test_an_event_that_is_rolled_back_holds_nobody_up(events: Events, database: Database) -> None:
    async with watching(events) as reader, open_transaction(database) as (slow, transaction):
        await reader.batch()
        await events.record(slow, "Undone", "Never happened.")
        await record(events, database, "Quick")
        assert (await reader.batch()).events == ()
        await transaction.rollback()
        assert await reader.kinds(1) == ["Quick"]


async def test_a_watch_that_begins_during_a_transaction_gets_its_event(events: Events, database: Database) -> None:
    async with open_transaction(database) as (slow, transaction):
        await events.record(slow, "Slow", "Began before the watch, became visible during it.")
        await record(events, database, "Before")
        async with watching(events) as reader:
            assert (await reader.batch()).events == ()
            await transaction.commit()
            assert await reader.kinds(1) == ["Slow"]
            await record(events, database, "After")
            assert await reader.kinds(1) == ["After"]


async def test_a_long_transaction_without_events_holds_nobody_up(events: Events, database: Database) -> None:
    async with watching(events) as reader, open_transaction(database) as (other, transaction):
        await reader.batch()
        await other.execute(
            "insert into ops.tokens (name, hash, role, created_by) values ('t', $1, 'viewer', 'x')", b"h" * 32
        )
        await record(events, database, "Quick")
        assert await reader.kinds(1) == ["Quick"]
        await transaction.rollback()


async def test_events_behind_a_transaction_that_only_began_do_not_wait_for_it(
    events: Events, database: Database
) -> None:
    """A hole is filled by its owner only; later writers are not waited for."""
    async with watching(events) as reader, open_transaction(database) as (first, undone):
        await reader.batch()
        await events.record(first, "Undone", "Leaves a hole.")
        await record(events, database, "Quick")
        assert (await reader.batch()).events == ()
        async with open_transaction(database) as (late, transaction):
            await events.record(late, "Late", "Began after the hole.")
            await undone.rollback()
            assert await reader.kinds(1) == ["Quick"]
            await transaction.commit()
            assert await reader.kinds(1) == ["Late"]


async def test_no_event_is_lost_or_doubled_among_many_writers(events: Events, database: Database) -> None:
    chance = random.Random(7)
    committed: set[str] = set()

    async def write(writer: int) -> None:
        for number in range(12):
            kind = f"W{writer}N{number}"
            undone = chance.random() < 0.25
            async with open_transaction(database) as (connection, transaction):
                await events.record(connection, kind, "x")
                await asyncio.sleep(chance.random() * 0.02)
                if undone:
                    await transaction.rollback()
                else:
                    committed.add(kind)
                    await transaction.commit()
                    events.hint.give()

    async with watching(events) as reader:
        await reader.batch()
        async with asyncio.TaskGroup() as group:
            for writer in range(6):
                group.create_task(write(writer))
        await record(events, database, "Last")
        seen: list[tuple[int, str]] = []
        while not seen or seen[-1][1] != "Last":
            seen += [(event.event_id, event.kind) for event in (await reader.batch()).events]
    assert {kind for _, kind in seen} == {*committed, "Last"}
    assert [event_id for event_id, _ in seen] == sorted({event_id for event_id, _ in seen})


async def test_the_events_of_a_run_are_numbered_without_holes(events: Events, database: Database) -> None:
    async def write(number: int) -> None:
        async with open_transaction(database) as (connection, transaction):
            await events.record(connection, "OrderPlaced", "x", run_id="run-1")
            await (transaction.rollback() if number % 3 == 0 else transaction.commit())

    async with asyncio.TaskGroup() as group:
        for number in range(9):
            group.create_task(write(number))
    found, _ = await events.list(filter_text='run_id = "run-1"', order_by="event_id")
    assert [event.run_sequence for event in found] == [1, 2, 3, 4, 5, 6]


async def test_a_notification_wakes_a_watcher_at_once(events: Events, database: Database, database_url: str) -> None:
    from quasar.background import background
    from quasar.database.listener import Listener
    from quasar.ops import events as module

    async with background() as running:
        listener = Listener(database_url, {module.CHANNEL: events.hint.give})
        running.start(listener.run(), "listener")
        await asyncio.wait_for(listener.connected.wait(), PATIENCE_S)
        async with watching(events, heartbeat_s=300) as reader:
            await reader.batch()
            waiting = asyncio.ensure_future(reader.kinds(1))
            async with database.transaction() as connection:
                await events.record(connection, "A", "x")
            assert await waiting == ["A"]
