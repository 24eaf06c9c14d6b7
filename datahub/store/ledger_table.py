"""The tables of coverage and gaps: rows of the ledger in and out."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

from datahub.ingest.gaps import GapChanges, KnownGap, next_attempt
from datahub.ingest.ledger import LedgerChanges, LedgerRow
from datahub.ingest.off_session import SlotBits, rows_over, unpacked
from datahub.series.series import Series
from datahub.store.statements import SQL
from quasar.model.columns import Int64Array
from quasar.model.coverage import SlotState, TimeRanges
from quasar.model.instants import TimeRange, from_ns, to_ns
from quasar.model.intervals import Interval

T = TypeVar("T")
_AT_ONCE: Final = 2_000
NOT_ASKED: Final = "NOT_COLLECTED"
"""The cause of what is missing because nobody was asked for it."""


async def around(connection: Any, series_id: int, span: TimeRange) -> list[LedgerRow]:
    """Return the rows that touch a range, and the nearest one on each side."""
    rows = await connection.fetch(SQL["ledger_around"], series_id, span.start, span.end)
    if len(rows) > _AT_ONCE:
        return await asyncio.to_thread(lambda: [ledger_row(row) for row in rows])
    return [ledger_row(row) for row in rows]


async def missing(connection: Any, series_id: int, span: TimeRange) -> tuple[int, TimeRanges]:
    """Return how many missing slots a range holds as whole rows, and what it holds of the rows that it cuts."""
    row = await connection.fetchrow(SQL["ledger_missing"], series_id, span.start, span.end)
    cut = TimeRanges.of((to_ns(start), to_ns(end)) for start, end in zip(row["starts"], row["ends"], strict=True))
    return row["inside"], cut.intersect(TimeRanges.of([span]))


async def put(connection: Any, series_id: int, changes: LedgerChanges, now: dt.datetime) -> None:
    """Write what changed in the ledger of a series."""
    for gone in _portions(changes.gone):
        await connection.execute(SQL["ledger_remove"], series_id, [from_ns(start_ns) for start_ns in gone])
    for fresh in _portions(changes.fresh):
        await connection.execute(
            SQL["ledger_put"],
            series_id,
            [from_ns(row.start_ns) for row in fresh],
            [from_ns(row.end_ns) for row in fresh],
            [int(row.state) for row in fresh],
            [row.slots for row in fresh],
            [row.source_series_id for row in fresh],
            now,
        )


async def off_session(connection: Any, series_id: int, interval: Interval, span: TimeRange) -> Int64Array:
    """Return the slots outside the calendar that bars were stored in: those of a range, and some around it."""
    after_ns, before_ns = rows_over(span, interval)
    rows = await connection.fetch(SQL["off_session_slots"], series_id, from_ns(after_ns), from_ns(before_ns))
    return unpacked([SlotBits(to_ns(row["start_time"]), row["slots"]) for row in rows], interval)


async def off_session_of(connection: Any, series: Sequence[Series], span: TimeRange) -> dict[int, Int64Array]:
    """Return the slots outside the calendar of some series, ascending, of those that have any in or around a range."""
    by_id = {one.series_id: one for one in series}
    rows = await connection.fetch(SQL["off_session_of_series"], list(by_id))
    found: dict[int, list[SlotBits]] = {}
    for row in rows:
        bits = SlotBits(to_ns(row["start_time"]), row["slots"])
        after_ns, before_ns = rows_over(span, by_id[row["series_id"]].interval)
        if after_ns < bits.start_ns < before_ns:
            found.setdefault(row["series_id"], []).append(bits)
    return {series_id: unpacked(bits, by_id[series_id].interval) for series_id, bits in found.items()}


async def put_off_session(connection: Any, series_id: int, rows: Sequence[SlotBits]) -> None:
    """Remember slots outside the calendar, in whole rows."""
    starts, bits = [from_ns(row.start_ns) for row in rows], [row.bits for row in rows]
    await connection.execute(SQL["off_session_put"], series_id, starts, bits)


async def known_gaps(connection: Any, series_id: int, span: TimeRange) -> list[KnownGap]:
    """Return the gaps that are not repaired and touch a range."""
    rows = await connection.fetch(SQL["gaps_in"], series_id, span.start, span.end)
    return [KnownGap(r["gap_id"], to_ns(r["start_time"]), to_ns(r["end_time"]), r["missing_slots"]) for r in rows]


async def change_gaps(
    connection: Any,
    series_id: int,
    changes: GapChanges,
    *,
    cause: str,
    repaired_from: str,
    run_id: int | None,
    now: dt.datetime,
) -> None:
    """Write what became of the gaps of a series."""
    for found in _portions(changes.found):
        await connection.execute(
            SQL["gaps_found"],
            series_id,
            [from_ns(row.start_ns) for row in found],
            [from_ns(row.end_ns) for row in found],
            [row.slots for row in found],
            cause,
            run_id,
            next_attempt(0, now),
            now,
        )
    for moved in _portions(changes.moved):
        await connection.execute(
            SQL["gaps_moved"],
            [gap.gap_id for gap in moved],
            [from_ns(gap.start_ns) for gap in moved],
            [from_ns(gap.end_ns) for gap in moved],
            [gap.missing_slots for gap in moved],
            now,
            cause == NOT_ASKED,
            next_attempt(0, now),
        )
    if changes.repaired:
        await connection.execute(SQL["gaps_repaired"], list(changes.repaired), repaired_from, run_id, now)


def _portions(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield rows in portions that are written at once: the arguments of a statement are put together on the loop."""
    return (rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE))


def ledger_row(row: Any) -> LedgerRow:
    """Return the ledger's row that a row of the table holds."""
    return LedgerRow(
        to_ns(row["start_time"]),
        to_ns(row["end_time"]),
        SlotState(row["state"]),
        row["slots"],
        row["source_series_id"],
    )
