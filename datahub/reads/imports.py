"""Imports: a file is read block by block, its rows checked and merged as those of a collection are."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import IO, Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from datahub.ingest.delivery import Counts, Delivery
from datahub.ingest.quarantine import held_rows
from datahub.ingest.writer import BarWriter
from datahub.providers.entry import ProviderEntry
from datahub.reads.files import FileFormat
from datahub.reads.import_files import Block, Layout, SeriesRows, blocks, format_of, row_count
from datahub.reads.uploads import Upload, Uploads
from datahub.series.series import Series, SeriesName
from datahub.store import series_table
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.model.bar_checks import Flaw, check_bars
from quasar.model.bars import BarColumns, BarOrigin
from quasar.model.instants import TimeRange, to_ns
from quasar.ops.operation_context import OperationContext

KIND: Final = "series.import"
MOST_ERRORS: Final = 100


@dataclass(slots=True)
class ImportFigures:
    """What an import did so far."""

    rows: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    quarantined: int = 0
    errors: list[str] = field(default_factory=list)
    """The first bad rows, each with its number and what is wrong."""
    series: list[int] = field(default_factory=list)
    """Ids of the series that were written."""
    complete: bool = False
    """The whole file was read."""

    def add(self, counts: Counts) -> None:
        """Count what became of some rows."""
        self.inserted += counts.inserted
        self.updated += counts.updated
        self.unchanged += counts.unchanged
        self.quarantined += counts.quarantined

    def tell(self, bad: Sequence[tuple[int, str]], noun: str) -> None:
        """Note bad rows, in the order of the file, as long as there is room."""
        room = MOST_ERRORS - len(self.errors)
        self.errors += [f"{noun} {number}: {problem}" for number, problem in sorted(bad)[: max(0, room)]]


@dataclass(frozen=True, slots=True)
class _Plan:
    """How one import goes."""

    upload: Upload
    layout: Layout
    format: FileFormat | None
    only_new: bool
    validate_only: bool


class Imports:
    """Does operations of kind `series.import`."""

    def __init__(
        self,
        database: Database,
        uploads: Uploads,
        writer: BarWriter,
        providers: Callable[[], Awaitable[Mapping[str, ProviderEntry]]],
        clock: Clock,
    ) -> None:
        """Store what `uploads` hold through `writer`, for series of `providers`."""
        self._database = database
        self._uploads = uploads
        self._writer = writer
        self._providers = providers
        self._clock = clock

    async def run(self, context: OperationContext) -> tuple[ImportFigures, Sequence[Series]]:
        """Import a file; after a restart blocks that were stored are passed over.

        Raises:
            NotFound: The upload is gone.
            InvalidArgument: The file is not what its format says.
        """
        done = ImportFigures(**context.checkpoint) if context.checkpoint else ImportFigures()
        if not done.complete:
            plan = await self._plan(context.request)
            with tempfile.TemporaryFile() as file:
                await self._uploads.write_to(plan.upload, file)
                await self._file(context, plan, file, done)
            # Saved before the upload goes: an attempt that is cut off here must not look for it again.
            done.complete = True
            await context.save(asdict(done))
        if not context.request["validate_only"]:
            await self._uploads.remove(context.request["upload_id"])
        async with self._database.acquire() as connection:
            written = await series_table.by_ids(connection, done.series)
        return done, list(written.values())

    async def _plan(self, request: Mapping[str, Any]) -> _Plan:
        layout = Layout(
            SeriesName(*request["series"]) if request["series"] else None,
            request["column_names"],
            ZoneInfo(request["time_zone"]) if request["time_zone"] else None,
            request["times_are_closes"],
        )
        chosen = FileFormat(request["format"]) if request["format"] else None
        upload = await self._uploads.get(request["upload_id"])
        return _Plan(upload, layout, chosen, request["only_new"], request["validate_only"])

    async def _file(self, context: OperationContext, plan: _Plan, file: IO[bytes], done: ImportFigures) -> None:
        file.seek(0)
        chosen = plan.format or format_of(file.read(8))
        file.seek(0)
        noun = "line" if chosen is FileFormat.CSV else "row"
        rows = await asyncio.to_thread(row_count, file, chosen)
        passed, skip = 0, done.rows
        reading = blocks(file, chosen, plan.layout)
        while (block := await asyncio.to_thread(_following, reading)) is not None:
            passed += block.rows
            if passed <= skip:
                continue
            await self._block(context, plan, block, done, noun)
            done.rows += block.rows
            await context.save(asdict(done))
            at = os.lseek(file.fileno(), 0, os.SEEK_CUR) if chosen is FileFormat.CSV else 0
            # Lines of one file are about as long as each other.
            self._tell(context, done, at, round(passed * plan.upload.size_bytes / at) if at else rows)

    def _tell(self, context: OperationContext, done: ImportFigures, at: int, total: int | None) -> None:
        counters = {name: float(getattr(done, name)) for name in ("inserted", "updated", "unchanged", "quarantined")}
        if at:
            counters["bytes"] = float(at)
        context.progress("importing", done=done.rows, total=total, unit="rows", counters=counters)

    async def _block(
        self, context: OperationContext, plan: _Plan, block: Block, done: ImportFigures, noun: str
    ) -> None:
        """Check and store the rows of a block."""
        providers = await self._providers()
        bad = list(block.unnamed)
        for rows in block.series:
            entry = providers.get(rows.name.provider)
            if entry is None:
                numbers = [*rows.numbers.tolist(), *(each.number for each in rows.refused)]
                bad += [(number, f"there is no provider {rows.name.provider!r}") for number in numbers]
                continue
            series = await self._series(rows.name, entry, plan.validate_only)
            # In a thread: every bad row of a block is put into words.
            delivery, problems = await asyncio.to_thread(self._delivery, series, rows, context, plan)
            bad += problems
            done.add(await (self._writer.preview(delivery) if plan.validate_only else self._writer.store(delivery)))
            if series.series_id and series.series_id not in done.series:
                done.series.append(series.series_id)
        done.tell(bad, noun)

    async def _series(self, name: SeriesName, entry: ProviderEntry, validate_only: bool) -> Series:
        calendar = entry.manifest.default_calendar
        async with self._database.transaction() as connection:
            if not validate_only:
                return (await series_table.ensure(connection, [name], {name.provider: calendar}))[name]
            found = await series_table.by_names(connection, [name])
        return found.get(name) or Series(series_id=0, name=name, default_calendar=calendar)

    def _delivery(
        self, series: Series, rows: SeriesRows, context: OperationContext, plan: _Plan
    ) -> tuple[Delivery, list[tuple[int, str]]]:
        """Return what is to be stored, and the bad rows by number."""
        check = check_bars(rows.columns, None, interval=series.interval, calendar=series.calendar, strict=True)
        held = held_rows(rows.columns, check, to_ns(self._clock.now()))
        held_places = np.flatnonzero(check.flaws & ~np.uint16(Flaw.REPEATED))
        problems = [
            (int(rows.numbers[place]), row.detail) for place, row in zip(held_places.tolist(), held, strict=True)
        ]
        problems += [(each.number, each.held.detail) for each in rows.refused]
        good = rows.columns[check.good] if not check.all_good else rows.columns
        delivery = Delivery(
            series=series,
            columns=good,
            answered=_covered(good, series),
            partial=True,
            refused=[*held, *(each.held for each in rows.refused)],
            origin=BarOrigin.IMPORTED,
            revision_cause="import",
            operation_id=context.operation.operation_id,
            only_new=plan.only_new,
        )
        return delivery, problems


def _covered(columns: BarColumns, series: Series) -> TimeRange | None:
    """Return the open times from the first slot to the last one that there are bars of; None: there are none."""
    if not len(columns) or not series.interval.is_time:
        return None
    first, last = int(columns.open_time_ns.min()), int(columns.open_time_ns.max())
    return TimeRange(first, series.interval.next_boundary_ns(last))


def _following(reading: Iterator[Block]) -> Block | None:
    return next(reading, None)
