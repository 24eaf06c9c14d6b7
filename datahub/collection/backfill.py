"""Backfills: a range of many series, fetched by runs that yield to scheduled ones, followed by one operation."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from datahub.collection import joining
from datahub.collection.planner import due_end_ns
from datahub.collection.runs import NewRun, RunState, Trigger
from datahub.ingest.ledger import MISSING_STATES, LedgerRow
from datahub.providers.entry import ProviderEntry
from datahub.series.series import Series
from datahub.store import ledger_table, series_table
from datahub.store.statements import SQL
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.model.coverage import TimeRanges
from quasar.model.instants import TimeRange, to_ns
from quasar.ops.operation_context import OperationContext

KIND = "bars.backfill"
LOOK_S = 0.5
_PIECE_NS = 366 * 86_400 * 10**9
"""A run covers so much at most, so that many can be done at once and a break costs little."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a backfill will take."""

    runs: tuple[NewRun, ...]
    slots: int
    complete_slots: int
    unavailable_slots: int


@dataclass(frozen=True, slots=True)
class BackfillFigures:
    """What the runs of a batch did."""

    states: Mapping[str, int]
    """How many runs stand where, those of others included that fetch a part of what was asked for."""
    sums: Mapping[str, float]
    """What its own runs counted."""

    @property
    def ended(self) -> bool:
        """Whether every run has ended."""
        return all(RunState(state).final for state in self.states)


async def estimate(
    database: Database,
    series: Sequence[Series],
    providers: Mapping[str, ProviderEntry],
    span: TimeRange,
    now: dt.datetime,
    *,
    refetch: bool,
) -> Estimate:
    """Return the runs that a backfill needs: what is classified without gaps is left out unless asked for."""
    runs: list[NewRun] = []
    slots = complete = unavailable = 0
    async with database.acquire() as connection:
        for one in series:
            entry = providers[one.name.provider]
            wanted = _wanted(one, entry, span, now)
            if wanted is None:
                continue
            earliest = to_ns(entry.history_start(one.interval, now, dt.datetime(1970, 1, 1, tzinfo=dt.UTC)))
            if wanted.start_ns < earliest:
                unavailable += _count(one, TimeRange(wanted.start_ns, min(earliest, wanted.end_ns)))
                wanted = TimeRange(min(earliest, wanted.end_ns), wanted.end_ns)
            left = TimeRanges.of([wanted])
            if not refetch:
                rows = await ledger_table.around(connection, one.series_id, wanted)
                left = await asyncio.to_thread(_without_done, left, rows)
            made = await asyncio.to_thread(_runs, one, left)
            runs += made
            wanted_slots = sum(run.slots for run in made)
            slots += wanted_slots
            complete += _count(one, wanted) - wanted_slots
    return Estimate(tuple(runs), slots, complete, unavailable)


class Backfills:
    """Does operations of kind `bars.backfill`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Make runs in `database`; workers do them."""
        self._database = database
        self._clock = clock

    async def run(self, context: OperationContext, providers: Mapping[str, ProviderEntry]) -> BackfillFigures:
        """Make the runs of an operation, once, and follow them until they have ended."""
        batch_id = context.operation.operation_id
        if not context.checkpoint:
            await self._begin(context, providers, batch_id)
        waited_s = context.operation.progress.wait_s
        try:
            while True:
                figures = await self.figures(batch_id)
                self._tell(context, figures, waited_s)
                waited_s = max(waited_s, figures.sums.get("wait_s", 0.0))
                if figures.ended:
                    return figures
                await self._clock.sleep(LOOK_S)
        except asyncio.CancelledError:
            # Either the service stops, and the runs go on, or somebody asked for the end of all of them.
            if await self._database.fetchval(SQL["operation_is_cancelled"], batch_id):
                await self.cancel(batch_id)
            raise

    async def cancel(self, batch_id: uuid.UUID) -> None:
        """Stop the runs of a batch."""
        async with self._database.transaction() as connection:
            await connection.execute(SQL["runs_cancel_of_batch"], batch_id, self._clock.now())
            await connection.execute(SQL["notify_collection"], "work")

    async def figures(self, batch_id: uuid.UUID) -> BackfillFigures:
        """Return what the runs of a batch did so far."""
        rows = await self._database.fetch(SQL["run_states_of_batch"], batch_id)
        own = [row for row in rows if row["own"]]
        names = [name for name in (rows[0].keys() if rows else ()) if name not in ("own", "state", "runs")]
        sums = {name: float(sum(row[name] or 0 for row in own)) for name in names}
        states = Counter[str]()
        for row in rows:
            states[row["state"]] += row["runs"]
        return BackfillFigures(states, sums)

    async def _begin(
        self, context: OperationContext, providers: Mapping[str, ProviderEntry], batch_id: uuid.UUID
    ) -> None:
        request = context.request
        now = self._clock.now()
        async with self._database.acquire() as connection:
            series = await series_table.by_ids(connection, request["series"])
        span = TimeRange(int(request["start_ns"]), int(request["end_ns"]))
        wanted = [one for one in series.values() if one.name.provider in providers]
        planned = await estimate(self._database, wanted, providers, span, now, refetch=bool(request["refetch"]))
        async with self._database.transaction() as connection:
            batch = joining.Batch(Trigger.BACKFILL, now, batch_id, context.operation.operation_id)
            await joining.make(connection, planned.runs, series, batch)
            await context.save({"begun": True}, connection=connection)

    def _tell(self, context: OperationContext, figures: BackfillFigures, waited_s: float) -> None:
        sums = figures.sums
        context.progress(
            "fetching",
            done=int(sums.get("slots_done", 0)),
            total=int(sums.get("slots_total", 0)),
            unit="slots",
            wait_s=max(0.0, sums.get("wait_s", 0.0) - waited_s),
            counters={
                "rows": sums.get("fetched", 0),
                **{name: sums.get(name, 0) for name in ("bytes", "inserted", "updated", "unchanged", "quarantined")},
                "vendor_calls": sums.get("vendor_calls", 0),
            },
        )


def _wanted(series: Series, entry: ProviderEntry, span: TimeRange, now: dt.datetime) -> TimeRange | None:
    interval = series.interval
    end = min(span.end_ns, due_end_ns(interval, entry, now))
    # A range without a begin means as far back as the provider goes.
    start = span.start_ns if span.start_ns > -(2**62) else to_ns(entry.history_start(interval, now, None))
    start = interval.ceil_ns(start)
    return TimeRange(start, end) if start < end else None


def _without_done(wanted: TimeRanges, rows: Sequence[LedgerRow]) -> TimeRanges:
    return wanted.subtract(TimeRanges.of(row.span for row in rows if row.state not in MISSING_STATES))


def _runs(series: Series, left: TimeRanges) -> list[NewRun]:
    """Return the runs of what is left, those without a slot left out. A market's first use loads a library."""
    made = (_run(series, piece) for stretch in left for piece in _pieces(series, stretch))
    return [run for run in made if run.slots]


def _pieces(series: Series, span: TimeRange) -> list[TimeRange]:
    interval = series.interval
    pieces, start = [], span.start_ns
    while start < span.end_ns:
        end = min(interval.ceil_ns(start + _PIECE_NS), span.end_ns)
        pieces.append(TimeRange(start, end))
        start = end
    return pieces


def _run(series: Series, span: TimeRange) -> NewRun:
    return NewRun(provider=series.name.provider, series_id=series.series_id, span=span, slots=_count(series, span))


def _count(series: Series, span: TimeRange) -> int:
    return series.expected_between(span.start_ns, span.end_ns)
