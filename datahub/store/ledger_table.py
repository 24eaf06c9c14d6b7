"""The tables of coverage and gaps: rows of the ledger in and out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from datahub.ingest.gaps import GapChanges, KnownGap, next_attempt
from datahub.ingest.ledger import LedgerRow
from datahub.store.statements import SQL
from quasar.model.coverage import SlotState
from quasar.model.instants import TimeRange, from_ns, to_ns


async def around(connection: Any, series_id: int, span: TimeRange) -> list[LedgerRow]:
    """Return the rows that touch a range, and the nearest one on each side."""
    rows = await connection.fetch(SQL["ledger_around"], series_id, span.start, span.end)
    return [ledger_row(row) for row in rows]


async def put(
    connection: Any, series_id: int, former: Sequence[LedgerRow], rows: Sequence[LedgerRow], now: dt.datetime
) -> None:
    """Put rows in the place of former ones."""
    known = set(former)
    fresh = [row for row in rows if row not in known]
    kept = {row.start_ns for row in rows}
    gone = [from_ns(row.start_ns) for row in former if row.start_ns not in kept]
    if gone:
        await connection.execute(SQL["ledger_remove"], series_id, gone)
    if fresh:
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
    if changes.found:
        await connection.execute(
            SQL["gaps_found"],
            series_id,
            [from_ns(row.start_ns) for row in changes.found],
            [from_ns(row.end_ns) for row in changes.found],
            [row.slots for row in changes.found],
            cause,
            run_id,
            next_attempt(0, now),
            now,
        )
    if changes.moved:
        await connection.execute(
            SQL["gaps_moved"],
            [gap.gap_id for gap in changes.moved],
            [from_ns(gap.start_ns) for gap in changes.moved],
            [from_ns(gap.end_ns) for gap in changes.moved],
            [gap.missing_slots for gap in changes.moved],
            now,
        )
    if changes.repaired:
        await connection.execute(SQL["gaps_repaired"], list(changes.repaired), repaired_from, run_id, now)


def ledger_row(row: Any) -> LedgerRow:
    """Return the ledger's row that a row of the table holds."""
    return LedgerRow(
        to_ns(row["start_time"]),
        to_ns(row["end_time"]),
        SlotState(row["state"]),
        row["slots"],
        row["source_series_id"],
    )
