"""Work that outlives a request: done once, resumed where it stopped, cancelled when asked."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from quasar.background import background
from quasar.clock import SystemClock
from quasar.database.pool import Database
from quasar.errors import AlreadyExists, DatabaseUnavailable, InvalidFilter, NotFound, VendorFailed
from quasar.ops.actors import Actor
from quasar.ops.events import Events
from quasar.ops.operation_context import LeaseLost, OperationContext
from quasar.ops.operations import Operation, OperationResult, Operations, OperationState
from quasar.ops.roles import Role
from quasar.ops.runner import LOSSES_BORNE, OperationRunner
from quasar.ops.workers import worker_identity

PATIENCE_S = 60
ANN = Actor("ann", Role.OPERATOR, "request-1")
Work = Callable[[OperationContext], Awaitable[OperationResult | None]]


async def ended(operations: Operations, operation_id: uuid.UUID) -> Operation:
    """Wait until an operation has ended, woken by the hints that the runner in the same process gives."""
    return await reaches(operations, operation_id, lambda operation: operation.state.final)


async def reaches(operations: Operations, operation_id: uuid.UUID, condition: Callable[[Operation], bool]) -> Operation:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = await operations.get(operation_id)
            if condition(found):
                return found
            await asyncio.sleep(0.01)


@asynccontextmanager
async def working(
    operations: Operations, work: Work, kind: str = "count", **how: Any
) -> AsyncIterator[OperationRunner]:
    """Run operations of a kind while the context lasts."""
    runner = OperationRunner(operations, SystemClock(), **how)
    runner.register(kind, work)
    async with background() as running:
        running.start(runner.run(), "runner")
        yield runner


async def count(context: OperationContext) -> OperationResult:
    """Count from where the checkpoint says up to what was asked, and tell how many steps this attempt took."""
    start = context.checkpoint.get("done", 0)
    total = context.request["to"]
    for number in range(start + 1, total + 1):
        context.progress("counting", done=number, total=total, unit="numbers", counters={"last": number})
        await context.save({"done": number})
    return OperationResult({"steps": total - start}, "type.googleapis.com/test.Counted", b"\x08\x01")


async def forever(context: OperationContext) -> None:
    context.progress("waiting")
    await asyncio.Event().wait()


async def test_work_is_done_and_its_result_kept(operations: Operations) -> None:
    submitted = await operations.submit("count", {"to": 5}, subject_type="numbers", subject="one to five", actor=ANN)
    assert submitted.state is OperationState.PENDING
    async with working(operations, count):
        found = await ended(operations, submitted.operation_id)
    assert found.state is OperationState.SUCCEEDED
    assert found.result == OperationResult({"steps": 5}, "type.googleapis.com/test.Counted", b"\x08\x01")
    assert (found.kind, found.service, found.subject, found.actor) == ("count", "registry", "one to five", ANN)
    assert (found.progress.phase, found.progress.done, found.progress.total, found.progress.unit) == (
        "counting",
        5,
        5,
        "numbers",
    )
    assert found.progress.counters == {"last": 5}
    assert found.attempts == 1
    assert found.start_time is not None
    assert found.end_time is not None
    assert found.create_time <= found.start_time <= found.end_time


async def test_the_same_request_id_gives_the_same_operation(operations: Operations) -> None:
    first = await operations.submit("count", {"to": 1}, request_id="r1")
    again = await operations.submit("count", {"to": 1}, request_id="r1")
    other = await operations.submit("count", {"to": 1}, request_id="r2")
    assert again.operation_id == first.operation_id != other.operation_id
    with pytest.raises(AlreadyExists, match="another count before"):
        await operations.submit("count", {"to": 2}, request_id="r1")


async def test_the_same_request_id_at_the_same_time_makes_one_operation(operations: Operations) -> None:
    made = await asyncio.gather(*(operations.submit("count", {"to": 1}, request_id="r") for _ in range(8)))
    assert len({each.operation_id for each in made}) == 1


async def test_work_submitted_in_a_transaction_is_there_only_if_it_was_committed(
    operations: Operations, database: Database
) -> None:
    async def fails() -> None:
        async with database.transaction() as connection:
            await operations.submit("count", {"to": 1}, connection=connection)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fails()
    assert (await operations.list())[0] == []


async def test_work_that_fails_says_why(operations: Operations, events: Events) -> None:
    async def fail(context: OperationContext) -> None:
        raise VendorFailed("The vendor said 503.", metadata={"status": "503"})

    submitted = await operations.submit("count", {})
    async with working(operations, fail):
        found = await ended(operations, submitted.operation_id)
    assert found.state is OperationState.FAILED
    assert found.error is not None
    assert (found.error.reason, found.error.message) == ("VENDOR_FAILED", "The vendor said 503.")
    assert found.error.metadata == {"status": "503"}
    assert found.result is None
    recorded, _ = await events.list(filter_text='kind = "OperationFailed"')
    assert [event.subject_name for event in recorded] == [str(submitted.operation_id)]


async def test_a_defect_does_not_tell_its_inside(operations: Operations) -> None:
    async def broken(context: OperationContext) -> None:
        raise RuntimeError("password=hunter2")

    submitted = await operations.submit("count", {})
    async with working(operations, broken):
        found = await ended(operations, submitted.operation_id)
    assert found.error is not None
    assert found.error.reason == "INTERNAL"
    assert "hunter2" not in found.error.message
    assert str(submitted.operation_id) in found.error.message


async def test_running_work_stops_when_it_is_cancelled(operations: Operations, events: Events) -> None:
    submitted = await operations.submit("count", {})
    async with working(operations, forever):
        await reaches(operations, submitted.operation_id, lambda each: each.progress.phase == "waiting")
        asked = await operations.cancel(submitted.operation_id, reason="changed my mind", actor=ANN)
        assert asked.cancel_requested
        operations.work.give()
        found = await ended(operations, submitted.operation_id)
    assert found.state is OperationState.CANCELLED
    assert (found.error, found.result, found.cancel_requested) == (None, None, False)
    [request], _ = await events.list(filter_text='kind = "OperationCancelRequested"')
    assert request.data["reason"] == "changed my mind"
    assert request.actor == ANN


async def test_work_that_nobody_has_taken_is_cancelled_at_once(operations: Operations, events: Events) -> None:
    submitted = await operations.submit("count", {})
    found = await operations.cancel(submitted.operation_id)
    assert found.state is OperationState.CANCELLED
    assert not found.cancel_requested
    assert (await operations.cancel(submitted.operation_id)).state is OperationState.CANCELLED
    told, _ = await events.list(filter_text=f'subject_name = "{submitted.operation_id}"', order_by="event_id")
    assert [event.kind for event in told] == ["OperationCancelRequested", "OperationCancelled"]


async def test_cancelling_ended_work_changes_nothing(operations: Operations) -> None:
    submitted = await operations.submit("count", {"to": 1})
    async with working(operations, count):
        await ended(operations, submitted.operation_id)
    found = await operations.cancel(submitted.operation_id)
    assert found.state is OperationState.SUCCEEDED
    assert not found.cancel_requested


async def test_a_service_that_stops_hands_its_work_to_the_next_start(operations: Operations) -> None:
    begun = asyncio.Event()

    async def half(context: OperationContext) -> None:
        await context.save({"done": 3})
        context.progress("counting", done=3)
        begun.set()
        await asyncio.Event().wait()

    submitted = await operations.submit("count", {"to": 5})
    async with working(operations, half):
        await asyncio.wait_for(begun.wait(), PATIENCE_S)
    stopped = await operations.get(submitted.operation_id)
    assert (stopped.state, stopped.progress.done) == (OperationState.PENDING, 3)
    async with working(operations, count):
        found = await ended(operations, submitted.operation_id)
    assert found.result is not None
    assert found.result.summary == {"steps": 2}
    assert found.attempts == 2


async def test_a_lost_worker_is_replaced_when_its_lease_has_run_out(operations: Operations) -> None:
    submitted = await operations.submit("count", {"to": 5})
    gone = await claimed_by_another(operations, "elsewhere/1/1.00", lease_s=0.05)
    await gone.save({"done": 4})
    async with working(operations, count):
        operations.work.give()
        found = await ended(operations, submitted.operation_id)
    assert found.result is not None
    assert found.result.summary == {"steps": 1}
    with pytest.raises(LeaseLost):
        await gone.save({"done": 5})


async def test_a_dead_process_of_this_machine_is_replaced_without_waiting_for_its_lease(
    operations: Operations,
) -> None:
    submitted = await operations.submit("count", {"to": 1})
    host, _, _ = worker_identity().split("/")
    await claimed_by_another(operations, f"{host}/999999999/1.00", lease_s=3600)
    async with working(operations, count):
        found = await ended(operations, submitted.operation_id)
    assert found.attempts == 2


async def test_a_living_worker_keeps_its_work(operations: Operations) -> None:
    submitted = await operations.submit("count", {"to": 1})
    await claimed_by_another(operations, worker_identity(), lease_s=3600)
    async with working(operations, count, worker="another"):
        other = await operations.submit("count", {"to": 1})
        await ended(operations, other.operation_id)
        assert (await operations.get(submitted.operation_id)).state is OperationState.RUNNING


async def test_a_worker_that_was_replaced_stops_and_changes_nothing(operations: Operations, database: Database) -> None:
    stopped = asyncio.Event()
    begun = asyncio.Event()

    async def stubborn(context: OperationContext) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    submitted = await operations.submit("count", {})
    async with working(operations, stubborn, lease_s=0.5):
        await asyncio.wait_for(begun.wait(), PATIENCE_S)
        await database.execute(
            "update ops.operations set worker = 'another', attempts = attempts + 1, lease_until = now() + '1 hour'"
        )
        operations.work.give()
        await asyncio.wait_for(stopped.wait(), PATIENCE_S)
    found = await operations.get(submitted.operation_id)
    assert found.state is OperationState.RUNNING


async def test_leases_are_renewed_while_work_lasts(operations: Operations) -> None:
    release = asyncio.Event()
    runs = 0

    async def long(context: OperationContext) -> None:
        nonlocal runs
        runs += 1
        await release.wait()

    submitted = await operations.submit("count", {})
    # Seconds, though it takes as long: a busy machine may stop this process for some tenths of one.
    async with working(operations, long, lease_s=3.0), working(operations, long, lease_s=3.0, worker="second"):
        lapsed = "select lease_until > now() from ops.operations"
        for _ in range(80):
            operations.work.give()
            await asyncio.sleep(0.05)
            assert await operations.database.fetchval(lapsed) in (True, None)
        release.set()
        await ended(operations, submitted.operation_id)
    assert runs == 1


async def test_work_that_keeps_ending_its_process_is_given_up(operations: Operations, database: Database) -> None:
    submitted = await operations.submit("count", {"to": 1})
    for _ in range(LOSSES_BORNE + 1):
        await claimed_by_another(operations, "elsewhere/1/1.00", lease_s=-1)
    async with working(operations, count):
        found = await ended(operations, submitted.operation_id)
    assert found.state is OperationState.FAILED
    assert found.error is not None
    assert "times in a row" in found.error.message


async def test_work_is_tried_again_when_the_database_was_away(operations: Operations) -> None:
    attempts = 0

    async def flaky(context: OperationContext) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise DatabaseUnavailable

    submitted = await operations.submit("count", {})
    async with working(operations, flaky):
        found = await ended(operations, submitted.operation_id)
    assert (found.state, attempts) == (OperationState.SUCCEEDED, 2)


async def test_two_workers_share_the_work_and_do_each_piece_once(operations: Operations) -> None:
    done: list[int] = []

    async def once(context: OperationContext) -> None:
        done.append(context.request["number"])
        await asyncio.sleep(0.005)

    submitted = [await operations.submit("count", {"number": number}) for number in range(20)]
    async with working(operations, once, worker="a"), working(operations, once, worker="b"):
        for each in submitted:
            await ended(operations, each.operation_id)
    assert sorted(done) == list(range(20))


async def test_no_more_is_done_at_once_than_allowed(operations: Operations) -> None:
    now = most = 0
    both = asyncio.Event()

    async def slow(context: OperationContext) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        if now == 2:
            both.set()
        await both.wait()  # however long it takes to claim the second one
        await asyncio.sleep(0.01)
        now -= 1

    submitted = [await operations.submit("count", {}) for _ in range(6)]
    async with working(operations, slow, at_once=2):
        for each in submitted:
            await ended(operations, each.operation_id)
    assert most == 2


async def test_kinds_without_a_handler_are_left_for_others(operations: Operations) -> None:
    other = await operations.submit("other", {})
    mine = await operations.submit("count", {"to": 1})
    async with working(operations, count):
        await ended(operations, mine.operation_id)
    assert (await operations.get(other.operation_id)).state is OperationState.PENDING


async def test_a_watch_shows_every_state_and_ends_with_the_last(operations: Operations) -> None:
    submitted = await operations.submit("count", {"to": 3})
    states: list[OperationState] = []
    async with working(operations, count), asyncio.timeout(PATIENCE_S):
        async for found in operations.watch(submitted.operation_id):
            states.append(found.state)
            operations.change.give()
    assert states[-1] is OperationState.SUCCEEDED
    assert states == sorted(states)


async def test_operations_are_listed_newest_first_in_pages_and_by_filter(operations: Operations) -> None:
    made = [await operations.submit("a" if n % 2 else "b", {}, subject=f"s{n}", actor=ANN) for n in range(5)]
    first, token = await operations.list(page_size=3)
    second, end = await operations.list(page_size=3, page_token=token)
    assert [each.operation_id for each in (*first, *second)] == [each.operation_id for each in reversed(made)]
    assert end == ""
    found, _ = await operations.list(filter_text='kind = "a" AND state = "PENDING" AND principal = "ann"')
    assert [each.subject for each in found] == ["s3", "s1"]
    with pytest.raises(InvalidFilter, match="state must be one of PENDING"):
        await operations.list(filter_text='state = "pending"')


async def test_another_service_has_none_of_these_operations(operations: Operations, database: Database) -> None:
    submitted = await operations.submit("count", {})
    others = Operations(database, "datahub", Events(database, "datahub", SystemClock()), SystemClock())
    with pytest.raises(NotFound, match="The datahub has no operation"):
        await others.get(submitted.operation_id)
    assert (await others.list())[0] == []


async def claimed_by_another(operations: Operations, worker: str, *, lease_s: float) -> OperationContext:
    """Take the oldest operation as somebody else would, with a lease of some seconds."""
    other = OperationRunner(operations, SystemClock(), worker=worker, lease_s=lease_s)
    other.register("count", count)
    row = await other._claim()
    return OperationContext(row, worker, operations.database, SystemClock(), lambda: None)
