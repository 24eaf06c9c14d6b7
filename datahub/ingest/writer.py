"""Stores deliveries of bars: in one transaction bars, former versions, quarantine and ledger change together."""

from __future__ import annotations

import datetime as dt
from typing import Any

import asyncpg
import numpy as np

from datahub.ingest.closes import with_closes
from datahub.ingest.delivery import Counts, Delivery
from datahub.ingest.differences import differences, told
from datahub.ingest.gaps import reconciled
from datahub.ingest.ledger import MISSING_STATES, evidence_of, ledger_rows, rewritten
from datahub.ingest.quarantine import HeldRow, held_rows
from datahub.ingest.room import Room
from datahub.store import bar_table, ledger_table
from datahub.store.statements import SQL
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.model.bar_checks import check_bars
from quasar.model.bars import BarColumns, BarState
from quasar.model.columns import Int64Array
from quasar.model.coverage import TimeRanges, classify
from quasar.model.instants import TimeRange, from_ns, to_ns

_TABLE = "datahub.historical_data"
_REVISIONS = "datahub.bar_revisions"
_ATTEMPTS = 3


class BarWriter:
    """Writes bars. Any number of writers may work at once, also on the same series."""

    def __init__(self, database: Database, room: Room, clock: Clock) -> None:
        """Write to `database`; `room` makes partitions before they are needed."""
        self._database = database
        self._room = room
        self._clock = clock

    async def store(self, delivery: Delivery) -> Counts:
        """Check the rows of a delivery, hold bad ones back, merge the others and bring the ledger up to date.

        A stored bar that came with other values is replaced; the former version is kept with the time until which it
        was known. A delivery that was stored before changes nothing.

        Returns:
            What became of the rows.

        Raises:
            DatabaseUnavailable: The database went away; nothing of the delivery is stored then.
        """
        now = self._clock.now()
        rows, held = _checked(delivery, to_ns(now))
        if len(rows):
            await self._room.ensure(_TABLE, from_ns(int(rows.open_time_ns[0])), _after(rows))
        for attempt in range(_ATTEMPTS):
            try:
                async with self._database.transaction() as connection:
                    return await _Storing(connection, delivery, rows, held, now).run()
            except asyncpg.CheckViolationError:
                # A partition is missing: of former versions, or one that retention dropped since it was made.
                if attempt == _ATTEMPTS - 1 or not len(rows):
                    raise
                await self._make_room(rows)
        raise AssertionError("unreachable")

    async def preview(self, delivery: Delivery) -> Counts:
        """Return what `store` would do with the rows of a delivery; nothing is stored."""
        rows, held = _checked(delivery, to_ns(self._clock.now()))
        fetched = len(delivery.columns) + len(delivery.refused)
        if not len(rows):
            return Counts(fetched=fetched, quarantined=len(held))
        span = TimeRange(int(rows.open_time_ns[0]), int(rows.open_time_ns[-1]) + 1_000)
        async with self._database.acquire() as connection:
            stored = await bar_table.stored(connection, delivery.series.series_id, span, told(rows))
        found = differences(rows, stored.columns)
        new, changed = int(found.new.sum()), 0 if delivery.only_new else int(found.changed.sum())
        return Counts(fetched, new, changed, len(rows) - new - changed, len(held))

    async def _make_room(self, rows: BarColumns) -> None:
        self._room.forget()
        first, after = from_ns(int(rows.open_time_ns[0])), _after(rows)
        await self._room.ensure(_TABLE, first, after)
        await self._room.ensure(_REVISIONS, first, after)


def _after(rows: BarColumns) -> dt.datetime:
    return from_ns(int(rows.open_time_ns[-1]) + 1_000)


def _checked(delivery: Delivery, now_ns: int) -> tuple[BarColumns, list[HeldRow]]:
    """Return the good rows by open time with close times, and what is held back."""
    columns = delivery.columns
    if columns.state is not None:
        columns = columns[columns.state != BarState.FORMING]
    interval, calendar = delivery.series.interval, delivery.series.calendar
    check = check_bars(columns, delivery.requested, interval=interval, calendar=calendar, strict=not delivery.lax)
    held = [*delivery.refused]
    if not check.all_good:
        held += held_rows(columns, check, now_ns)
        columns = columns[check.good]
    return with_closes(columns.sort(), interval, calendar), held


class _Storing:
    """One delivery in one transaction."""

    def __init__(
        self, connection: Any, delivery: Delivery, rows: BarColumns, held: list[HeldRow], now: dt.datetime
    ) -> None:
        self._connection = connection
        self._delivery = delivery
        self._series = delivery.series
        self._id = delivery.series.series_id
        self._rows = rows
        self._held = held
        self._now = now

    async def run(self) -> Counts:
        """Store the delivery."""
        await self._connection.execute(SQL["lock_series"], self._id)
        span = self._span()
        present = span is not None and await bar_table.any_in(self._connection, self._id, span)
        counts = await self._store_rows(present)
        if span is not None and self._delivery.answered is not None:
            await self._classify(span, present)
        quarantined = await self._hold() if self._held else 0
        fetched = len(self._delivery.columns) + len(self._delivery.refused)
        return Counts(fetched, counts.inserted, counts.updated, counts.unchanged, quarantined)

    def _span(self) -> TimeRange | None:
        """Return the range of open times that the delivery is about: its rows and what it answers."""
        rows, answered = self._rows, self._delivery.answered
        starts = [answered.start_ns] if answered else []
        ends = [answered.end_ns] if answered else []
        if len(rows):
            starts.append(int(rows.open_time_ns[0]))
            ends.append(int(rows.open_time_ns[-1]) + 1_000)
        return TimeRange(min(starts), max(ends)) if starts else None

    async def _store_rows(self, present: bool) -> Counts:
        rows = self._rows
        if not len(rows):
            return Counts()
        marks = {
            "known_at": np.int64(to_ns(self._now) // 1_000),
            "origin": np.int16(self._delivery.origin),
            "source_series_id": np.int32(self._delivery.source_series_id),
            "revision": np.int32(0),
        }
        inserted, updated = rows, BarColumns.empty()
        if present:
            span = TimeRange(int(rows.open_time_ns[0]), int(rows.open_time_ns[-1]) + 1_000)
            stored = await bar_table.stored(self._connection, self._id, span, told(rows))
            found = differences(rows, stored.columns)
            inserted = rows[found.new]
            updated = rows[found.changed & (not self._delivery.only_new)]
            if len(updated):
                run_id, cause = self._delivery.run_id, self._delivery.revision_cause
                await bar_table.revise(self._connection, self._id, updated, marks, stored, run_id, cause)
        if len(inserted):
            await bar_table.insert(self._connection, self._id, inserted, marks)
        if len(inserted) or len(updated):
            await bar_table.put_last(self._connection, self._id, rows, int(self._delivery.origin), self._now)
            watermark = from_ns(int(rows.close_time_ns[-1]))  # type: ignore[index]  # `_checked` fills it
            await self._connection.execute(SQL["progress_add"], self._id, watermark, len(inserted), self._now)
        return Counts(0, len(inserted), len(updated), len(rows) - len(inserted) - len(updated))

    async def _classify(self, span: TimeRange, present: bool) -> None:
        """Bring ledger and gaps up to date over a range."""
        interval = self._series.interval
        if not interval.is_time:
            return
        observed = await self._observed(span, present)
        expected = self._series.calendar.expected_slots(interval, span.start_ns, span.end_ns)
        former = await ledger_table.around(self._connection, self._id, span)
        empty = self._delivery.empty
        if not self._delivery.unanswered:
            empty = empty.union(await self._before_first(span, expected, observed))
        evidence = evidence_of(
            former,
            repairing=bool(self._delivery.repaired_from),
            empty=empty,
            no_trade=self._delivery.no_trade,
            given_up=self._delivery.given_up,
        )
        fresh = ledger_rows(classify(interval, span, expected, observed, evidence), self._delivery.source_series_id)
        rows = rewritten(former, span, fresh, self._series.expected_between)
        await ledger_table.put(self._connection, self._id, former, rows, self._now)
        await self._connection.execute(SQL["progress_classified"], self._id, span.start, span.end, self._now)
        await self._settle_gaps(span, [row for row in rows if row.state in MISSING_STATES])

    async def _observed(self, span: TimeRange, present: bool) -> Int64Array:
        if present:
            return await bar_table.times(self._connection, self._id, span)
        return self._rows.open_time_ns

    async def _before_first(self, span: TimeRange, expected: Int64Array, observed: Int64Array) -> TimeRanges:
        """Return what lies before the first bar that the source has at all: there is nothing, and that is no gap."""
        first = int(observed[0]) if len(observed) else span.end_ns
        if not len(expected) or int(expected[0]) >= first:
            return TimeRanges.of(())
        earliest = await self._connection.fetchval(SQL["first_bar_time"], self._id)
        known = to_ns(earliest) if earliest is not None else span.end_ns
        return TimeRanges.of([(span.start_ns, first)] if known >= first else [])

    async def _settle_gaps(self, span: TimeRange, missing: list[Any]) -> None:
        known = await ledger_table.known_gaps(self._connection, self._id, span)
        reach = TimeRange(
            min([span.start_ns, *(gap.start_ns for gap in known)]), max([span.end_ns, *(gap.end_ns for gap in known)])
        )
        touched = [row for row in missing if row.span.intersect(reach) is not None]
        changes = reconciled(known, touched)
        if changes.nothing:
            return
        held = any(row.time_ns is not None and _inside(row.time_ns, touched) for row in self._held)
        await ledger_table.change_gaps(
            self._connection,
            self._id,
            changes,
            cause="QUARANTINED" if held else self._delivery.missing_cause,
            repaired_from=self._delivery.repaired_from or self._series.name.provider,
            run_id=self._delivery.run_id,
            now=self._now,
        )

    async def _hold(self) -> int:
        name = self._series.name
        rows = await self._connection.fetch(
            SQL["quarantine_add"],
            self._id,
            name.provider,
            name.symbol,
            name.interval,
            [None if row.time_ns is None else from_ns(row.time_ns) for row in self._held],
            [row.reason for row in self._held],
            [row.detail for row in self._held],
            [row.payload for row in self._held],
            self._delivery.run_id,
            self._delivery.operation_id,
            self._now,
        )
        return len(rows)


def _inside(time_ns: int, rows: list[Any]) -> bool:
    return any(row.start_ns <= time_ns < row.end_ns for row in rows)
