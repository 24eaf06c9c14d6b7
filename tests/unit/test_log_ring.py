"""The last lines of the log, for whoever watches."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing

from quasar.log_ring import LogBatch, LogRing


def ring_with(*events: str, size: int = 100, level: str = "info") -> LogRing:
    """Return a ring that holds some lines."""
    ring = LogRing(size)
    ring.extend([(0, level, event, "test", "", {}) for event in events])
    return ring


def texts(batch: LogBatch) -> list[str]:
    """Return the events of a batch."""
    return [record.event for record in batch.records]


def test_lines_are_numbered_from_one_without_holes() -> None:
    ring = ring_with("a", "b")
    ring.extend([(0, "info", "c", "test", "", {})])

    assert [record.sequence for record in ring.after(0).records] == [1, 2, 3]
    assert ring.last_sequence == 3


def test_a_reader_gets_what_follows_and_is_told_what_is_gone() -> None:
    ring = ring_with("a", "b", "c", "d", size=2)

    assert (texts(ring.after(3)), ring.after(3).dropped) == (["d"], 0)
    assert (texts(ring.after(0)), ring.after(0).dropped) == (["c", "d"], 2)
    assert (texts(ring.after(4)), ring.after(4).dropped) == ([], 0)


def test_the_tail_has_the_last_lines_that_match() -> None:
    ring = ring_with("collected", "stored", "Collected more")
    ring.extend([(0, "debug", "collected", "test", "", {}), (0, "info", "done", "x", "", {"what": "COLLECT"})])

    assert [r.event for r in ring.tail(2)] == ["collected", "done"]
    assert [r.event for r in ring.tail(9, contains="collect")] == ["collected", "Collected more", "collected", "done"]
    assert [r.event for r in ring.tail(2, "info", "collect")] == ["Collected more", "done"]
    assert ring.tail(0) == ()


async def test_a_watcher_gets_lines_as_they_come_from_any_thread() -> None:
    ring = ring_with("before")
    async with aclosing(ring.watch(ring.last_sequence)) as batches:
        waiting = asyncio.ensure_future(anext(batches))
        await asyncio.sleep(0)
        thread = threading.Thread(target=ring.extend, args=([(0, "info", "from a thread", "test", "", {})],))
        thread.start()
        async with asyncio.timeout(60):
            first = await waiting
        thread.join()
        ring.extend([(0, "debug", "too quiet", "test", "", {})])
        ring.extend([(0, "info", "second", "test", "", {})])
        async with asyncio.timeout(60):
            second = await anext(batches)

    assert texts(first) == ["from a thread"]
    assert "second" in texts(second)


async def test_a_slow_watcher_is_told_how_many_lines_it_missed() -> None:
    ring = ring_with(size=3)
    async with aclosing(ring.watch(0, "info")) as batches:
        ring.extend([(0, "info", str(i), "test", "", {}) for i in range(10)])
        batch = await anext(batches)

    assert (texts(batch), batch.dropped) == (["7", "8", "9"], 7)
