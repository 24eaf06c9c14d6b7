"""Runs beside those that work already: what these fetch is joined, what they leave gets runs of its own."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from datahub.collection.runs import NewRun, Trigger
from datahub.series.series import Series
from datahub.store import run_table
from datahub.store.statements import SQL
from quasar.model.coverage import TimeRanges
from quasar.model.instants import TimeRange

_Active = Mapping[int, Mapping[int, TimeRange]]
"""By series: the ranges of its runs that have not ended, by the run's number."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What makes runs belong together."""

    trigger: Trigger
    scheduled_for: dt.datetime
    batch_id: uuid.UUID | None = None
    operation_id: uuid.UUID | None = None
    past_pause: bool = False
    """Runs that wait for their provider to be resumed are not waited for."""


@dataclass(frozen=True, slots=True)
class Joined:
    """The runs that fetch what was asked for."""

    made: tuple[int, ...]
    """New runs, in the order of their making."""
    joined: tuple[int, ...]
    """Runs of others, which fetch a part of it already."""


async def make(connection: Any, runs: Sequence[NewRun], series: Mapping[int, Series], batch: Batch) -> Joined:
    """Make runs for what no active run fetches, and count those that fetch the rest to the batch.

    Args:
        connection: In a transaction.
        runs: Ranges to fetch; of one series they do not overlap.
        series: The series of the runs, by their ids.
        batch: What the runs have in common.

    Returns:
        Runs which together fetch every slot of `runs`.
    """
    made: list[int] = []
    joined: set[int] = set()
    left, place = list(runs), 0
    while left:
        active = await _active(connection, {run.series_id for run in left}, past_pause=batch.past_pause)
        joined |= {run_id for run in left for run_id in _overlapping(run, active)}
        parts = [part for run in left for part in _beside(run, series[run.series_id], active)]
        left = []
        for group in _one_of_each(parts):
            # Pieces of one series differ in their slot, so that each is a run of its own.
            slot = batch.scheduled_for + dt.timedelta(microseconds=place)
            place += 1
            found = await run_table.insert(
                connection,
                group,
                kind="BARS",
                trigger=batch.trigger,
                scheduled_for=slot,
                now=batch.scheduled_for,
                batch_id=batch.batch_id,
                operation_id=batch.operation_id,
                past_pause=batch.past_pause,
            )
            made += found.values()
            # A planner may have been faster since the active runs were read: what it took is joined in the next round.
            left += [run for run in group if run.series_id not in found]
        # What was just made overlaps nothing that is left, so that a round never joins a run of the batch itself.
    joined -= set(made)
    if joined and batch.batch_id is not None:
        await connection.execute(SQL["runs_join"], sorted(joined), batch.batch_id, batch.scheduled_for)
    return Joined(tuple(made), tuple(sorted(joined)))


async def _active(connection: Any, series_ids: Iterable[int], *, past_pause: bool) -> _Active:
    rows = await connection.fetch(SQL["runs_active_of_series"], list(series_ids), past_pause)
    found: dict[int, dict[int, TimeRange]] = defaultdict(dict)
    for row in rows:
        found[row["series_id"]][row["run_id"]] = TimeRange.of(row["range_start"], row["range_end"])
    return found


def _overlapping(run: NewRun, active: _Active) -> dict[int, TimeRange]:
    return {
        run_id: span
        for run_id, span in active.get(run.series_id, {}).items()
        if span.start_ns < run.span.end_ns and span.end_ns > run.span.start_ns
    }


def _beside(run: NewRun, series: Series, active: _Active) -> list[NewRun]:
    """Return the pieces of a run that no active run covers."""
    taken = _overlapping(run, active)
    if not taken:
        return [run]
    pieces = TimeRanges.of([run.span]).subtract(TimeRanges.of(taken.values()))
    cut = (replace(run, span=span, slots=series.expected_between(span.start_ns, span.end_ns)) for span in pieces)
    return [piece for piece in cut if piece.slots]


def _one_of_each(runs: Sequence[NewRun]) -> list[list[NewRun]]:
    """Return runs in groups in which no series comes twice."""
    groups: list[list[NewRun]] = []
    seen: dict[int, int] = defaultdict(int)
    for run in runs:
        place = seen[run.series_id]
        seen[run.series_id] += 1
        if place == len(groups):
            groups.append([])
        groups[place].append(run)
    return groups
