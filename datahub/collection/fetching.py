"""Fetches a range of one series from a source and stores it as it comes, so that a break costs what was not stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import numpy as np

from datahub.collection.answers import Answer, BarSource
from datahub.collection.runs import Failure, Progress
from datahub.ingest.delivery import Delivery
from datahub.ingest.quarantine import HeldRow
from datahub.ingest.writer import BarWriter
from datahub.series.series import Series
from quasar.clock import Clock
from quasar.model.bars import BarColumns
from quasar.model.coverage import TimeRanges
from quasar.model.instants import MIN_NS, TimeRange
from quasar.sdk.requests import BarRequest

STORED_ROWS = 50_000
"""Rows that are stored at once at most."""
STORED_S = 5.0
"""Rows wait so long at most before they are stored."""

Advance = Callable[[int, Progress], Awaitable[None]]
"""Hears up to where (nanoseconds) the range is stored, and what was done since it last heard."""


@dataclass(slots=True)
class _Waiting:
    """What came and is not stored."""

    parts: list[BarColumns] = field(default_factory=list)
    refused: list[HeldRow] = field(default_factory=list)
    rows: int = 0
    received_bytes: int = 0
    vendor_calls: int = 0
    wait_s: float = 0.0

    def add(self, answer: Answer) -> None:
        """Keep a part of an answer."""
        if len(answer.columns):
            self.parts.append(answer.columns)
            self.rows += len(answer.columns)
        self.refused += answer.refused
        self.received_bytes += answer.received_bytes
        self.vendor_calls += answer.vendor_calls
        self.wait_s += answer.wait_s


class Fetching:
    """One range of one series."""

    def __init__(self, writer: BarWriter, clock: Clock, advance: Advance) -> None:
        """Store with `writer` and tell `advance` after each time."""
        self._writer = writer
        self._clock = clock
        self._advance = advance
        self.irregular = 0
        """Rows that came again, or behind later ones."""
        self._newest_ns = MIN_NS - 1
        self._empty: list[TimeRange] = []
        self._no_trade: list[TimeRange] = []

    async def fetch(self, source: BarSource, request: BarRequest, delivery: Delivery) -> Failure | None:
        """Fetch until the source is done, and return its failure, if it had one.

        Args:
            source: Whom to ask.
            request: For what.
            delivery: What the rows are stored as; `columns`, `requested`, `answered` and the like are filled in.
        """
        waiting, mark = _Waiting(), request.start_ns
        stored_at = self._clock.monotonic()
        async with aclosing(source.fetch(request)) as answers:
            async for answer in answers:
                waiting.add(answer)
                self._note(answer)
                ended = answer.done or answer.failure is not None
                late = self._clock.monotonic() - stored_at > STORED_S and waiting.rows
                if ended or late or waiting.rows >= STORED_ROWS:
                    mark = await self._store(waiting, request, delivery, mark, done=answer.done)
                    waiting, stored_at = _Waiting(), self._clock.monotonic()
                if ended:
                    return answer.failure
        return Failure("PLUGIN_FAILED", "The provider ended its answer without saying that it was complete.")

    def _note(self, answer: Answer) -> None:
        times = answer.columns.open_time_ns
        newest = np.maximum.accumulate(np.append(self._newest_ns, times))
        self.irregular += int(np.count_nonzero(times <= newest[:-1]))
        self._newest_ns = int(newest[-1])
        for stretch in answer.empty:
            ranges = self._no_trade if stretch.no_trade else self._empty
            ranges.append(TimeRange(stretch.start_ns, stretch.end_ns))

    async def _store(self, waiting: _Waiting, request: BarRequest, delivery: Delivery, mark: int, *, done: bool) -> int:
        """Store what came and return up to where the range is answered now."""
        columns = BarColumns.concatenate(waiting.parts)
        answered = _answered(columns, request, delivery.series, mark, done=done)
        until = max(mark, answered.end_ns) if answered else mark
        progress = Progress(
            received_bytes=waiting.received_bytes, vendor_calls=waiting.vendor_calls, wait_s=waiting.wait_s
        )
        if len(columns) or waiting.refused or answered is not None:
            counts = await self._writer.store(
                replace(
                    delivery,
                    columns=columns,
                    refused=waiting.refused,
                    requested=request.span,
                    answered=answered,
                    empty=TimeRanges.of(self._empty),
                    no_trade=TimeRanges.of(self._no_trade),
                )
            )
            progress = replace(progress, counts=counts)
        await self._advance(until, progress)
        return until


def _answered(columns: BarColumns, request: BarRequest, series: Series, mark: int, *, done: bool) -> TimeRange | None:
    """Return the open times that the source has answered for with what came since the last time.

    Rows come in ascending order, so what lies before the last one is answered; a source that breaks the rule answers
    again for what lies between.
    """
    inside = columns.open_time_ns[(columns.open_time_ns >= request.start_ns) & (columns.open_time_ns < request.end_ns)]
    start = min(mark, int(inside.min())) if len(inside) else mark
    if done:
        end = request.end_ns
    elif len(inside) and series.interval.is_time:
        end = min(max(mark, series.interval.next_boundary_ns(int(inside.max()))), request.end_ns)
    else:
        return None
    return TimeRange(start, end) if start < end else None
