"""Does runs that fetch bars: of a schedule, of a backfill, of a repair."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import replace

from datahub.collection.answers import BarSource
from datahub.collection.fetching import Fetching
from datahub.collection.repair import Repair
from datahub.collection.runs import Failure, Outcome, Progress, RunState, Work
from datahub.ingest.delivery import Delivery
from datahub.ingest.writer import BarWriter
from datahub.series.series import Series
from datahub.store import ledger_table, run_table, series_table
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.errors import Aborted
from quasar.model.bars import BarColumns
from quasar.model.instants import TimeRange, from_ns, to_ns
from quasar.plugins.errands import Errands
from quasar.sdk.requests import BarRequest

WAITING_LOOK_S = 1.0
"""A run that waits for a permit is shown as throttled after so long at most."""

SourceOf = Callable[[str], Awaitable[BarSource]]
"""Returns the running source of a provider, or raises why there is none."""


class RunLost(Aborted):
    """Another worker has taken the run; what this one does would be done twice."""


class BarCollector:
    """Fetches and stores the range of a run."""

    def __init__(self, database: Database, writer: BarWriter, sources: SourceOf, clock: Clock) -> None:
        """Ask `sources` and store with `writer`."""
        self._database = database
        self._writer = writer
        self._sources = sources
        self._clock = clock
        self._repair = Repair(database, writer, sources, clock)

    async def collect(self, work: Work) -> Outcome | Failure:
        """Do one attempt of a run: go on where the one before stopped.

        Returns:
            How the run ended, or why the attempt failed.

        Raises:
            RunLost: Somebody else does the run now.
        """
        series = await self._series(work)
        assert work.span is not None
        span, quarantined, irregular = work.span, 0, 0

        async def advance(until_ns: int, progress: Progress) -> None:
            nonlocal quarantined
            quarantined += progress.counts.quarantined
            done = series.expected_between(span.start_ns, until_ns)
            mark, now = from_ns(until_ns), self._clock.now()
            async with self._database.transaction() as connection:
                if not await run_table.advance(connection, work, mark, progress, done, now):
                    raise RunLost

        start = max(work.span.start_ns, to_ns(work.watermark)) if work.watermark else work.span.start_ns
        if start < work.span.end_ns:
            failure, irregular = await self._fetch(work, series, TimeRange(start, work.span.end_ns), advance)
            if failure is not None:
                return replace(failure, irregular=irregular)
        if work.gap_ids:
            await self._repair.complete(work, series, advance)
        return replace(await self._outcome(work, series, quarantined), irregular=irregular)

    async def give_up(self, work: Work, cause: str) -> int:
        """Classify what a run that ended before its time left undone, and return how many of its slots are gaps."""
        series = await self._series(work)
        async with self._database.acquire() as connection:
            mark = await run_table.watermark(connection, work.run_id)
        assert work.span is not None
        start = max(work.span.start_ns, to_ns(mark)) if mark else work.span.start_ns
        if start < work.span.end_ns and series.interval.is_time:
            left = TimeRange(start, work.span.end_ns)
            await self._writer.store(
                Delivery(
                    series=series,
                    columns=BarColumns.empty(),
                    answered=left,
                    unanswered=True,
                    missing_cause=cause,
                    run_id=work.run_id,
                )
            )
        if work.gap_ids:
            await self._repair.note(work, f"{series.name.provider}: the run did not end", self._clock.now())
        return await self._missing(series, work.span)

    async def _fetch(
        self, work: Work, series: Series, span: TimeRange, advance: Callable[[int, Progress], Awaitable[None]]
    ) -> tuple[Failure | None, int]:
        """Return why it failed, if it did, and how many rows came again or out of order."""
        source = await self._sources(series.name.provider)
        delivery = Delivery(
            series=series,
            columns=BarColumns.empty(),
            run_id=work.run_id,
            operation_id=work.operation_id,
            repaired_from=series.name.provider if work.gap_ids else "",
        )
        fetching = Fetching(self._writer, self._clock, advance)
        async with Errands() as errands:
            errands.add(self._show_waiting(work, source))
            return await fetching.fetch(source, bar_request(series, span), delivery), fetching.irregular

    async def _show_waiting(self, work: Work, source: BarSource) -> None:
        """Have the run say whether it waits for leave of the provider's rate limits."""
        shown = False
        while True:
            await self._clock.sleep(WAITING_LOOK_S)
            if source.waiting != shown:
                shown = not shown
                async with self._database.transaction() as connection:
                    await run_table.show_throttled(connection, work, shown, self._clock.now())

    async def _outcome(self, work: Work, series: Series, quarantined: int) -> Outcome:
        assert work.span is not None
        missing = await self._missing(series, work.span)
        state = RunState.PARTIAL if missing or quarantined else RunState.SUCCEEDED
        return Outcome(
            state=state, slots_done=series.expected_between(work.span.start_ns, work.span.end_ns), slots_gap=missing
        )

    async def _missing(self, series: Series, span: TimeRange) -> int:
        async with self._database.acquire() as connection:
            inside, cut = await ledger_table.missing(connection, series.series_id, span)
        return inside + sum(series.expected_between(part.start_ns, part.end_ns) for part in cut)

    async def _series(self, work: Work) -> Series:
        async with self._database.acquire() as connection:
            found = await series_table.by_ids(connection, [work.series_id or 0])
        return found[work.series_id or 0]


def bar_request(series: Series, span: TimeRange) -> BarRequest:
    """Return what to ask a provider for a range of a series."""
    return BarRequest(
        symbol=series.name.symbol,
        interval=series.name.interval,
        start_ns=span.start_ns,
        end_ns=span.end_ns,
        provider_id=series.external_id,
        exchange=series.exchange,
    )


def retry_delay(attempt: int, failure: Failure, jitter: float) -> dt.timedelta:
    """Return how long to wait before the next attempt: longer each time, and never shorter than the vendor asked for.

    Args:
        attempt: The attempt that failed, from 1.
        failure: Why.
        jitter: A number in [0, 1) that spreads the attempts.
    """
    pause = min(5.0 * 4.0 ** (attempt - 1), 900.0) * (0.5 + jitter / 2)
    return dt.timedelta(seconds=max(pause, failure.retry_after_s or 0.0))
