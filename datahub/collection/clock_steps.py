"""A wall clock that was ahead and is set right: what was written of times that have not come is taken back.

A clock that is late or asleep needs nothing of the kind: what became due in the meantime is due when it is right.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

from datahub.ingest.gaps import reconciled
from datahub.ingest.ledger import MISSING_STATES, LedgerRow, ledger_changes
from datahub.series.series import Series
from datahub.store import ledger_table, series_table
from datahub.store.statements import SQL
from quasar import logs
from quasar.database.pool import Database
from quasar.model.instants import TimeRange, from_ns, to_ns
from quasar.ops.events import Events, Severity

TOLERANCE = dt.timedelta(minutes=1)
"""Clocks of replicas may differ by as much."""

_log = logs.get(__name__)


class ClockSteps:
    """Notices that the clock was ahead by what stands in the database, so also over a restart and for all replicas."""

    def __init__(self, database: Database, events: Events) -> None:
        """Look into `database` and tell `events`."""
        self._database = database
        self._events = events

    async def set_right(self, now: dt.datetime) -> bool:
        """Take back what was written of the time after `now`, if jobs have fired there; tell whether they had."""
        ahead: dt.datetime | None = await self._database.fetchval(SQL["fired_ahead"], now + TOLERANCE)
        if ahead is None:
            return False
        async with self._database.transaction() as connection:
            # Whoever comes second finds nothing left to do.
            if not await connection.fetch(SQL["jobs_fire_again"], now, now + TOLERANCE):
                return False
            await connection.execute(SQL["runs_of_the_future"], now)
            rows = await connection.fetch(SQL["classified_ahead"], now + TOLERANCE)
            series = await series_table.by_ids(connection, [row["series_id"] for row in rows])
            for row in rows:
                await _unclassify(connection, series[row["series_id"]], row["classified_until"], now)
            await connection.execute(SQL["gaps_of_the_future"], now)
            _log.warning("the clock was ahead", ahead_until=ahead.isoformat(), series=len(rows))
            await self._events.record(
                connection,
                "ClockTurnedBack",
                f"The clock had shown {ahead:%Y-%m-%d %H:%M} and was set back; what was planned for then is due again.",
                severity=Severity.WARNING,
                data={"ahead_until": ahead.isoformat(), "series": len(rows)},
            )
        return True


async def _unclassify(connection: Any, series: Series, until: dt.datetime, now: dt.datetime) -> None:
    """Take the slots that have not begun out of a ledger, so that they become due when they have ended."""
    interval, series_id = series.interval, series.series_id
    cut = interval.floor_ns(to_ns(now))
    await connection.execute(SQL["lock_series"], series_id)
    span = TimeRange(cut, max(cut, to_ns(until)))
    former = await ledger_table.around(connection, series_id, span)
    kept = [_until(row, cut, series) for row in former if row.start_ns < cut]
    rows = [row for row in kept if row.slots]
    await ledger_table.put(connection, series_id, ledger_changes(former, rows), now)
    gaps = await ledger_table.known_gaps(connection, series_id, span)
    missing = [row for row in rows if row.state in MISSING_STATES and row.span.intersect(_reach(gaps, span))]
    await connection.execute(SQL["gaps_ahead"], series_id, from_ns(cut))
    changes = reconciled([gap for gap in gaps if gap.start_ns < cut], missing)
    await ledger_table.change_gaps(
        connection, series_id, changes, cause="NOT_COLLECTED", repaired_from="", run_id=None, now=now
    )
    await connection.execute(SQL["classified_only_until"], series_id, from_ns(cut))


def _until(row: LedgerRow, cut_ns: int, series: Series) -> LedgerRow:
    if row.end_ns <= cut_ns:
        return row
    return replace(row, end_ns=cut_ns, slots=series.expected_between(row.start_ns, cut_ns))


def _reach(gaps: list[Any], span: TimeRange) -> TimeRange:
    return TimeRange(min([span.start_ns, *(gap.start_ns for gap in gaps)]), span.end_ns)
