"""Checks stretches of one series: compares the ledger with what is stored, and the bars with what is usual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from datahub.ingest.delivery import Delivery
from datahub.ingest.ledger import MISSING_STATES, LedgerRow, ranges_of
from datahub.ingest.off_session import NO_SLOTS, beyond, expected_slots
from datahub.ingest.writer import BarWriter
from datahub.quality import checks
from datahub.quality.findings import Finding
from datahub.quality.sample import Sample, session_dates
from datahub.series.series import Series
from datahub.store import bar_table, ledger_table, quality_table, series_table
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.model.bars import BarColumns, BarOrigin
from quasar.model.columns import Int64Array
from quasar.model.coverage import SlotState
from quasar.model.instants import NS_PER_DAY, TimeRange
from quasar.ops.events import Events, Severity

_PRESENT = (SlotState.OBSERVED, SlotState.REPAIRED)
_OTHERS = 8
"""A series is compared with so many of other providers at most."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of a check."""

    new: dict[str, int] = field(default_factory=dict)
    """Bars concerned by findings that are new, by check."""
    lost: int = 0
    """Slots that the ledger took for stored and that were not there."""


class Checker:
    """Checks series of one database."""

    def __init__(self, database: Database, writer: BarWriter, events: Events, clock: Clock) -> None:
        """Read from `database`, correct the ledger with `writer`, tell `events`."""
        self._database = database
        self._writer = writer
        self._events = events
        self._clock = clock

    async def check(self, series: Series, span: TimeRange, extent: quality_table.Extent) -> Checked:
        """Check the bars of a range and put what is found in the place of what was found there before.

        Where bars are gone that the ledger has as stored, the ledger is corrected, so that they are fetched again.
        """
        lost = await self._audit(series, span, extent)
        async with self._database.acquire() as connection:
            sample = await quality_table.sample(connection, series, span, checks.BEFORE)
            findings = await quality_table.held(connection, series, span)
            ledger = await quality_table.ledger(connection, series.series_id, span)
            off_session = await _off_session(connection, series, span)
        findings += await quality_table.beside(len(ledger), _missing, series, span, ledger, off_session)
        findings += await quality_table.beside(len(sample), _suspicious, series, sample)
        findings += await self._compared(series, span, sample)
        return Checked(await self._store(series, span, findings), lost)

    async def _audit(self, series: Series, span: TimeRange, extent: quality_table.Extent) -> int:
        """Correct the ledger where it says of bars that are not there that they are; return how many slots."""
        kept = _kept(span, extent, self._clock.time_ns())
        if kept is None or not series.interval.is_time:
            return 0
        async with self._database.acquire() as connection:
            stored = await bar_table.times(connection, series.series_id, kept)
            ledger = await quality_table.ledger(connection, series.series_id, kept)
            off_session = await _off_session(connection, series, kept)
        slots = expected_slots(series, kept, off_session)
        wrong, lost = await quality_table.beside(len(ledger), _wrong, slots, stored, ledger, wanted=extent.subscribed)
        if not len(wrong):
            return 0
        gone = TimeRange(int(wrong[0]), series.interval.next_boundary_ns(int(wrong[-1])))
        # What was given up or has no bars by the word of its source stays that; the rest becomes a gap. Where nobody
        # collects the series, as an imported one, slots of which nothing is known stay unknown.
        await self._writer.store(
            Delivery(
                series=series,
                columns=BarColumns.empty(),
                answered=gone,
                unanswered=True,
                missing_cause="NOT_COLLECTED",
                partial=not extent.subscribed,
            )
        )
        if lost:
            await self._tell_lost(series, gone, lost)
        return lost

    async def _tell_lost(self, series: Series, gone: TimeRange, lost: int) -> None:
        async with self._database.transaction() as connection:
            await self._events.record(
                connection,
                "BarsLost",
                f"{lost} bars of {series.name} that were stored are gone; they are fetched again.",
                subject_type="series",
                subject_name=str(series.name),
                severity=Severity.ERROR,
                data={"start": gone.start.isoformat(), "end": gone.end.isoformat(), "slots": lost},
            )

    async def _compared(self, series: Series, span: TimeRange, sample: Sample) -> list[Finding]:
        """Compare with series of other providers, and what a provider pushed with what its ticks say."""
        findings: list[Finding] = []
        async with self._database.acquire() as connection:
            pushed = await quality_table.live_sample(connection, series, span, BarOrigin.LIVE_PROVIDER)
            if len(pushed):
                built = await quality_table.live_sample(connection, series, span, BarOrigin.LIVE_TICKS)
                findings += checks.tick_disagreement(pushed, built)
            others = await series_table.of_same_instrument(connection, series.series_id)
            if not len(sample) or not others:
                return findings
            reach = TimeRange(int(sample.open_time_ns[0]), int(sample.open_time_ns[-1]) + 1_000)
            known: set[int] = set()
            for other in others[:_OTHERS]:
                theirs = await quality_table.sample(connection, other, reach, 0)
                found = checks.disagreement(sample, theirs.open_time_ns, theirs.close, other.series_id, str(other.name))
                # One finding a place: the first provider that disagrees is named.
                findings += [each for each in found if each.start_ns not in known]
                known |= {each.start_ns for each in found}
        return findings

    async def _store(self, series: Series, span: TimeRange, findings: Sequence[Finding]) -> dict[str, int]:
        now = self._clock.now()
        async with self._database.transaction() as connection:
            new = await quality_table.replace_findings(connection, series.series_id, span, findings, now)
            if new:
                told = ", ".join(f"{count} {kind}" for kind, count in new.items())
                await self._events.record(
                    connection,
                    "QualityFindingsFound",
                    f"Quality checks of {series.name} found something new (bars): {told}.",
                    subject_type="series",
                    subject_name=str(series.name),
                    severity=Severity.WARNING,
                    data={"start": span.start.isoformat(), "end": span.end.isoformat(), "bars": new},
                )
        return new


def _suspicious(series: Series, sample: Sample) -> list[Finding]:
    return [
        *checks.zero_volume(sample),
        *checks.spikes(sample),
        *checks.stale(sample, series.interval),
        *checks.unexplained_jumps(sample),
    ]


async def _off_session(connection: Any, series: Series, span: TimeRange) -> Int64Array:
    if series.calendar.always_open:
        return NO_SLOTS
    return await ledger_table.off_session(connection, series.series_id, series.interval, span)


def _missing(series: Series, span: TimeRange, ledger: Sequence[LedgerRow], off_session: Int64Array) -> list[Finding]:
    gone = ranges_of(ledger, *MISSING_STATES)
    if not series.interval.is_time or not len(gone):
        return []
    slots = expected_slots(series, span, off_session)
    places = np.flatnonzero(gone.contains(slots))
    dates = session_dates(series.calendar, series.interval, slots[places])
    return checks.missing(slots[places], dates, series.interval, places)


def _kept(span: TimeRange, extent: quality_table.Extent, now_ns: int) -> TimeRange | None:
    """Return the part of a range in which bars must be there: classified, and within what is kept."""
    if extent.classified is None:
        return None
    kept = span.intersect(extent.classified)
    if kept is not None and extent.retention is not None:
        # A partition is dropped as a whole, so that its first bars may go up to a month early.
        oldest = now_ns - round(extent.retention.total_seconds()) * 1_000_000_000 + 32 * NS_PER_DAY
        kept = kept.intersect(TimeRange(min(oldest, kept.end_ns), kept.end_ns))
    return kept


def _wrong(
    slots: Int64Array, stored: Int64Array, ledger: Sequence[LedgerRow], *, wanted: bool
) -> tuple[Int64Array, int]:
    """Return the slots that the ledger is wrong about, and of how many the bars are gone.

    Args:
        slots: The slots of a classified range at which a bar is expected.
        stored: Open times of the bars that are there.
        ledger: The rows of the ledger that touch the range.
        wanted: Whether slots without a bar that the ledger has nothing of are wrong too.
    """
    absent = ~np.isin(slots, stored, assume_unique=True)
    known = ranges_of(ledger, *SlotState).contains(slots)
    explained = ranges_of(ledger, *(state for state in SlotState if state not in _PRESENT)).contains(slots)
    lost = absent & ~explained & (known | wanted)
    wrong = slots[lost | ~known & (wanted | ~absent)]
    # Bars that nobody expects and nothing remembers were stored before there was a memory for them.
    return np.union1d(wrong, beyond(stored, slots)), int(lost.sum())
