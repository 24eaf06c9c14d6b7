"""What is done for a gap beyond asking its own provider again: borrowing from others, and giving up for a while."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any

from datahub.collection.answers import BarSource
from datahub.collection.fetching import Fetching
from datahub.collection.runs import Progress, Work
from datahub.ingest.delivery import Delivery
from datahub.ingest.gaps import ATTEMPTS_BEFORE_SLOW, next_attempt
from datahub.ingest.writer import BarWriter
from datahub.series.series import Series
from datahub.store import series_table
from datahub.store.statements import SQL
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.errors import QuasarError
from quasar.model.bars import BarColumns, BarOrigin
from quasar.model.coverage import TimeRanges
from quasar.model.instants import TimeRange
from quasar.sdk.requests import BarRequest

BORROW_AFTER = 1
"""Attempts that a gap's own provider gets before another one is asked."""


class Repair:
    """Completes the repair of gaps after their own provider was asked."""

    def __init__(
        self,
        database: Database,
        writer: BarWriter,
        sources: Callable[[str], Awaitable[BarSource]],
        clock: Clock,
    ) -> None:
        """Ask `sources` and store with `writer`."""
        self._database = database
        self._writer = writer
        self._sources = sources
        self._clock = clock

    async def complete(self, work: Work, series: Series, advance: Callable[[int, Progress], Awaitable[None]]) -> None:
        """Borrow what is still missing, and note what became of the gaps."""
        said = [f"{series.name.provider}: nothing"]
        lent = [gap for gap in await self._open(work) if gap["attempts"] >= BORROW_AFTER]
        if lent and not work.own_provider_only:
            reach = TimeRange.of(min(gap["start_time"] for gap in lent), max(gap["end_time"] for gap in lent))
            said += await self._borrow(work, series, reach, advance)
        await self.note(work, "; ".join(said), self._clock.now())

    async def note(self, work: Work, answer: str, now: dt.datetime) -> None:
        """Write of each gap that it was asked for in vain; after enough attempts it is given up for a while."""
        for gap in await self._open(work):
            attempts = gap["attempts"] + 1
            given_up = attempts >= ATTEMPTS_BEFORE_SLOW
            state, due = "UNREPAIRABLE" if given_up else "OPEN", next_attempt(attempts, now)
            evidence = [{"time": now.isoformat(), "answer": answer}]
            await self._database.execute(SQL["gap_attempted"], gap["gap_id"], state, due, work.run_id, now, evidence)
            if given_up:
                await self._mark(work, TimeRange.of(gap["start_time"], gap["end_time"]))

    async def _open(self, work: Work) -> list[Any]:
        """Return the gaps of a run that are not repaired."""
        return await self._database.fetch(SQL["gaps_left"], list(work.gap_ids))

    async def _mark(self, work: Work, span: TimeRange) -> None:
        async with self._database.acquire() as connection:
            series = (await series_table.by_ids(connection, [work.series_id or 0]))[work.series_id or 0]
        await self._writer.store(
            Delivery(
                series=series,
                columns=BarColumns.empty(),
                answered=span,
                unanswered=True,
                given_up=TimeRanges.of([span]),
                run_id=work.run_id,
            )
        )

    async def _borrow(
        self, work: Work, series: Series, span: TimeRange, advance: Callable[[int, Progress], Awaitable[None]]
    ) -> list[str]:
        """Ask the providers of the same instrument, one after the other, and return what they said."""
        async with self._database.acquire() as connection:
            others = await series_table.of_same_instrument(connection, series.series_id)
        said: list[str] = []
        for other in others:
            said.append(await self._borrow_from(other, work, series, span, advance))
            if not await self._open(work):
                break
        return said

    async def _borrow_from(
        self,
        other: Series,
        work: Work,
        series: Series,
        span: TimeRange,
        advance: Callable[[int, Progress], Awaitable[None]],
    ) -> str:
        async def told(_until: int, progress: Progress) -> None:
            await advance(span.end_ns, progress)

        delivery = Delivery(
            series=series,
            columns=BarColumns.empty(),
            run_id=work.run_id,
            origin=BarOrigin.REPAIRED,
            source_series_id=other.series_id,
            repaired_from=other.name.provider,
            # Between the gaps are bars of its own.
            only_new=True,
        )
        request = BarRequest(
            other.name.symbol, other.name.interval, span.start_ns, span.end_ns, other.external_id, other.exchange
        )
        try:
            source = await self._sources(other.name.provider)
            failure = await Fetching(self._writer, self._clock, told).fetch(source, request, delivery)
        except QuasarError as error:
            return f"{other.name.provider}: {error.message}"
        return f"{other.name.provider}: {failure.message if failure else 'answered'}"
