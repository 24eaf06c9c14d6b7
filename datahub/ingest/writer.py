"""Stores deliveries of bars: in one transaction bars, former versions, quarantine and ledger change together."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import asyncpg
import numpy as np

from datahub.ingest.closes import with_closes
from datahub.ingest.delivery import Counts, Delivery
from datahub.ingest.differences import differences, told
from datahub.ingest.gaps import settled
from datahub.ingest.off_session import NO_SLOTS, reach
from datahub.ingest.quarantine import HeldRow, held_rows, times_of
from datahub.ingest.rate import RowRate
from datahub.ingest.room import Room
from datahub.ingest.verdict import INLINE_HOLES, INLINE_SLOTS, Known, Verdict, is_little, verdict
from datahub.store import bar_table, ledger_table
from datahub.store.statements import SQL
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.model.bar_checks import check_bars
from quasar.model.bars import BarColumns, BarState
from quasar.model.columns import Int64Array
from quasar.model.instants import MIN_NS, TimeRange, from_ns, to_ns

_TABLE = "datahub.historical_data"
_REVISIONS = "datahub.bar_revisions"
_ATTEMPTS = 3
PART_ROWS = 100_000
"""Rows that are stored in one transaction at most, whatever a delivery holds."""
_HELD_AT_ONCE = 2_000
"""Rows of the quarantine that are written by one statement: its arguments are put together on the event loop."""


class BarWriter:
    """Writes bars. Any number of writers may work at once, also on the same series."""

    def __init__(self, database: Database, room: Room, clock: Clock) -> None:
        """Write to `database`; `room` makes partitions before they are needed."""
        self._database = database
        self._room = room
        self._clock = clock
        self.rate = RowRate(clock)
        """New and changed bars a second."""

    async def store(self, delivery: Delivery) -> Counts:
        """Check the rows of a delivery, hold bad ones back, merge the others and bring the ledger up to date.

        A stored bar that came with other values is replaced; the former version is kept with the time until which it
        was known. A delivery that was stored before changes nothing. One of many rows is stored in parts, each in a
        transaction of its own, in the order of time.

        Returns:
            What became of the rows.

        Raises:
            DatabaseUnavailable: The database went away; the parts before are stored, and storing the whole again does
                nothing to them.
        """
        now = self._clock.now()
        rows, held = await self._checked(delivery, to_ns(now))
        stored = Counts()
        for part in _parts(delivery, rows, held):
            if len(part.rows):
                await self._room.ensure(_TABLE, from_ns(int(part.rows.open_time_ns[0])), _after(part.rows))
            done = await self._store(delivery, part, now)
            self.rate.add(done.inserted + done.updated)
            stored += done
        return replace(stored, fetched=len(delivery.columns) + len(delivery.refused))

    async def _store(self, delivery: Delivery, part: _Part, now: dt.datetime) -> Counts:
        for attempt in range(_ATTEMPTS):
            try:
                async with self._database.transaction() as connection:
                    return await _Storing(connection, delivery, part, now).run()
            except asyncpg.CheckViolationError:
                # A partition is missing: of former versions, or one that retention dropped since it was made.
                if attempt == _ATTEMPTS - 1 or not len(part.rows):
                    raise
                await self._make_room(part.rows)
        raise AssertionError("unreachable")

    async def _checked(self, delivery: Delivery, now_ns: int) -> tuple[BarColumns, list[HeldRow]]:
        """Return the good rows by open time with close times, and what is held back."""
        if len(delivery.columns) <= INLINE_SLOTS and delivery.series.calendar.always_open:
            return _checked(delivery, now_ns)
        return await asyncio.to_thread(_checked, delivery, now_ns)

    async def preview(self, delivery: Delivery) -> Counts:
        """Return what `store` would do with the rows of a delivery; nothing is stored."""
        rows, held = await self._checked(delivery, to_ns(self._clock.now()))
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


@dataclass(frozen=True, slots=True)
class _Part:
    """What is stored in one transaction."""

    rows: BarColumns
    held: Sequence[HeldRow]
    span: TimeRange | None
    """The open times that it is about: its rows, and what the delivery answers up to the next part."""


def _parts(delivery: Delivery, rows: BarColumns, held: Sequence[HeldRow]) -> Iterator[_Part]:
    """Yield checked rows in parts that are stored at once; what is held back goes with the first."""
    answered = delivery.answered
    starts = [answered.start_ns] if answered else []
    ends = [answered.end_ns] if answered else []
    if len(rows):
        starts.append(int(rows.open_time_ns[0]))
        ends.append(int(rows.open_time_ns[-1]) + 1_000)
    if not starts:
        yield _Part(rows, held, None)
        return
    cuts = [min(starts), *rows.open_time_ns[PART_ROWS::PART_ROWS].tolist(), max(ends)]
    for number, (start, end) in enumerate(pairwise(cuts)):
        part = rows[number * PART_ROWS : (number + 1) * PART_ROWS]
        yield _Part(part, held if number == 0 else (), TimeRange(start, end))


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
    """One part of a delivery in one transaction."""

    def __init__(self, connection: Any, delivery: Delivery, part: _Part, now: dt.datetime) -> None:
        self._connection = connection
        self._delivery = delivery
        self._series = delivery.series
        self._id = delivery.series.series_id
        self._rows = part.rows
        self._held = part.held
        self._span = part.span
        self._now = now

    async def run(self) -> Counts:
        """Store it; rows that were fetched are not counted."""
        await self._connection.execute(SQL["lock_series"], self._id)
        span = self._span
        present = span is not None and await bar_table.any_in(self._connection, self._id, span)
        if span is None or self._delivery.answered is None or not self._series.interval.is_time:
            counts = await self._store_rows(present)
        elif present:
            counts = await self._store_rows(present)
            observed = await bar_table.times(self._connection, self._id, span)
            await self._record(span, await self._verdict(span, observed))
        else:
            counts = await self._store_classified(span)
        return replace(counts, quarantined=await self._hold() if self._held else 0)

    async def _store_classified(self, span: TimeRange) -> Counts:
        """Store rows where nothing is: what will be there is known, and classified while the server takes it."""
        known = await self._known(span, self._rows.open_time_ns)
        if is_little(self._delivery, span, known):
            found = verdict(self._delivery, span, known)
            counts = await self._store_rows(present=False)
        else:
            classifying = asyncio.create_task(asyncio.to_thread(verdict, self._delivery, span, known))
            try:
                counts = await self._store_rows(present=False)
            finally:
                # Also when the rows were refused: nobody works on for what is tried again, and no failure goes unheard.
                await asyncio.gather(classifying, return_exceptions=True)
            found = classifying.result()
        await self._record(span, found)
        return counts

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

    async def _known(self, span: TimeRange, observed: Int64Array) -> Known:
        former = await ledger_table.around(self._connection, self._id, span)
        delivery, off_session = self._delivery, NO_SLOTS
        if not self._series.calendar.always_open:
            around = reach(span, former)
            off_session = await ledger_table.off_session(self._connection, self._id, self._series.interval, around)
        if delivery.unanswered or delivery.partial or (len(observed) and int(observed[0]) == span.start_ns):
            return Known(observed, former, MIN_NS, off_session)
        earliest = await self._connection.fetchval(SQL["first_bar_time"], self._id)
        earliest_ns = span.end_ns if earliest is None else to_ns(earliest)
        return Known(observed, former, min([earliest_ns, *observed[:1].tolist()]), off_session)

    async def _verdict(self, span: TimeRange, observed: Int64Array) -> Verdict:
        known = await self._known(span, observed)
        if is_little(self._delivery, span, known):
            return verdict(self._delivery, span, known)
        return await asyncio.to_thread(verdict, self._delivery, span, known)

    async def _record(self, span: TimeRange, found: Verdict) -> None:
        """Bring ledger and gaps up to date over a range."""
        await ledger_table.put(self._connection, self._id, found.changes, self._now)
        if found.off_session:
            await ledger_table.put_off_session(self._connection, self._id, found.off_session)
        if found.whole:
            await self._connection.execute(SQL["progress_classified"], self._id, span.start, span.end, self._now)
        known = await ledger_table.known_gaps(self._connection, self._id, span)
        held_ns = times_of(self._held)
        if len(known) + len(found.missing) + len(held_ns) <= INLINE_HOLES:
            changes, held = settled(known, found.missing, span, held_ns)
        else:
            changes, held = await asyncio.to_thread(settled, known, found.missing, span, held_ns)
        if changes.nothing:
            return
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
        name, count = self._series.name, 0
        for start in range(0, len(self._held), _HELD_AT_ONCE):
            held = self._held[start : start + _HELD_AT_ONCE]
            rows = await self._connection.fetch(
                SQL["quarantine_add"],
                self._id,
                name.provider,
                name.symbol,
                name.interval,
                [None if row.time_ns is None else from_ns(row.time_ns) for row in held],
                [row.reason for row in held],
                [row.detail for row in held],
                [row.payload for row in held],
                self._delivery.run_id,
                self._delivery.operation_id,
                self._now,
            )
            count += len(rows)
        return count
