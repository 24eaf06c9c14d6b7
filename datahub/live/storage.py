"""Stores ticks and live bars in batches: one COPY and one upsert every quarter of a second, however much came."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from datahub.bus.outbox import Hole
from datahub.live.bars import BuiltBar
from datahub.live.event_bars import Progress
from datahub.store.statements import SQL
from quasar import errors, logs
from quasar.clock import Clock
from quasar.database.copy import Column, RowFormat
from quasar.database.pool import Database
from quasar.model.columns import MISSING
from quasar.model.instants import from_ns
from quasar.model.ticks import TickColumns, TickKind

FLUSH_S = 0.25
LAST_S = 2.0
"""How long the last write at a stop may take."""
LARGEST_BACKLOG = 2_000_000
"""Ticks that wait while the database is away; what comes beyond is not kept, and a gap in what is stored."""

_log = logs.get(__name__)
_TICKS = "datahub.ticks"
_BARS = "datahub.live_data"
_FLOATS = ("price", "size", "bid_price", "bid_size", "ask_price", "ask_size")
_IDS = ("trade_id", "venue_sequence")
_ROWS = RowFormat(
    [
        Column("series_id", "int4"),
        Column("event_ns", "int2"),
        Column("receive_ns", "int2"),
        Column("event_time", "timestamptz"),
        Column("receive_time", "timestamptz"),
        Column("publish_ns", "int2"),
        Column("publish_time", "timestamptz"),
        Column("sequence", "int8"),
        Column("kind", "int2"),
        Column("side", "int2"),
        Column("flags", "int2"),
        *(Column(name, "float8") for name in _FLOATS),
        *(Column(name, "int8") for name in _IDS),
    ]
)


class MakesRoom(Protocol):
    """Makes partitions."""

    async def ensure(self, table: str, start: dt.datetime, end: dt.datetime) -> object:
        """Make sure that rows with times in [start, end) can be stored."""
        ...


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class StoredTicks:
    """Ticks on their way to the table."""

    series_id: int
    columns: TickColumns
    first_sequence: int


class LiveStore:
    """Gathers what is to be stored and writes it; a database that is away is waited for."""

    def __init__(self, database: Database, storage: MakesRoom, clock: Clock) -> None:
        """Write to `database`; `storage` makes partitions before rows need them."""
        self._database = database
        self._storage = storage
        self._clock = clock
        self._ticks: list[StoredTicks] = []
        self._bars: list[BuiltBar] = []
        self._progress: dict[int, tuple[int, int]] = {}
        self._rows = 0
        self._writing = asyncio.Lock()
        self._unsure = False
        self.refused_rows = 0
        """Ticks that were not kept because the database was away for too long."""
        self._holes: dict[int, Hole] = {}
        self._full = False
        self.stored_rows = 0

    def add_ticks(self, series_id: int, columns: TickColumns, first_sequence: int) -> None:
        """Take ticks; they are written at the next flush."""
        if self._full or self._rows + len(columns) > LARGEST_BACKLOG:
            self._leave_out(series_id, columns)
            return
        self._ticks.append(StoredTicks(series_id, columns, first_sequence))
        self._rows += len(columns)

    def _leave_out(self, series_id: int, columns: TickColumns) -> None:
        """Count ticks that are not kept: once some are not none is, until half of the room is free again."""
        if not self._full:
            _log.error("ticks are not stored any more: too many wait for the database", waiting=self._rows)
        self._full = True
        self.refused_rows += len(columns)
        start_ns, end_ns = int(columns.event_time_ns.min()), int(columns.event_time_ns.max()) + 1
        self._holes.setdefault(series_id, Hole(start_ns, end_ns)).take(start_ns, end_ns, len(columns))

    def take_holes(self) -> dict[int, Hole]:
        """Return what was not kept since the last time, by series; nothing while it still grows."""
        if self._full:
            return {}
        found, self._holes = self._holes, {}
        return found

    def add_bars(self, bars: Sequence[BuiltBar]) -> None:
        """Take bars that closed or were revised."""
        self._bars.extend(bars)

    def add_progress(self, progress: Mapping[int, Progress], now_ns: int) -> None:
        """Take how far bars are that trades fill, by series, where no bar tells it."""
        self._progress.update((series_id, (one.sequence, now_ns)) for series_id, one in progress.items())

    async def run(self) -> None:
        """Write for ever, and once more at the end."""
        try:
            await self._run()
        finally:
            # Not in time: the journal has it, and it is stored at the next start.
            with contextlib.suppress(errors.DatabaseUnavailable, errors.DeadlineExceeded, TimeoutError):
                async with asyncio.timeout(LAST_S):
                    await self.flush()

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(FLUSH_S)
            try:
                await self.flush()
            except (errors.DatabaseUnavailable, errors.DeadlineExceeded) as error:
                _log.warning(
                    "live data waits for the database", ticks=self._rows, bars=len(self._bars), problem=str(error)
                )
                await self._clock.sleep(1.0)

    async def flush(self) -> None:
        """Write what has gathered; what cannot be written is kept for the next time.

        Raises:
            DatabaseUnavailable: The database is away.
            DeadlineExceeded: It is too slow.
        """
        async with self._writing:
            ticks, bars, progress = self._ticks, self._bars, self._progress
            if not (ticks or bars or progress):
                return
            self._ticks, self._bars, self._progress = [], [], {}
            taken = sum(len(part.columns) for part in ticks)
            try:
                await self._make_room(ticks, bars)
                async with self._database.transaction() as connection:
                    # A connection that broke at the commit leaves open whether it happened.
                    new = await _not_stored(connection, ticks) if self._unsure else ticks
                    if new:
                        await _copy_ticks(connection, new)
                    if bars:
                        await _put_bars(connection, bars)
                    if progress := progress | _filled_by(bars):
                        await _put_progress(connection, progress, bars)
            except BaseException:
                self._ticks, self._bars = ticks + self._ticks, bars + self._bars
                self._progress = progress | self._progress
                self._unsure = True
                raise
            self._unsure = False
            self._rows -= taken
            self._full = self._full and self._rows > LARGEST_BACKLOG // 2
            self.stored_rows += taken

    async def _make_room(self, ticks: Sequence[StoredTicks], bars: Sequence[BuiltBar]) -> None:
        if ticks:
            first = min(int(part.columns.event_time_ns.min()) for part in ticks)
            last = max(int(part.columns.event_time_ns.max()) for part in ticks)
            await self._storage.ensure(_TICKS, from_ns(first), from_ns(last + 1_000))
        if bars:
            opens = [built.bar.open_time_ns for built in bars]
            await self._storage.ensure(_BARS, from_ns(min(opens)), from_ns(max(opens) + 1_000))


async def _not_stored(connection: Any, parts: Sequence[StoredTicks]) -> list[StoredTicks]:
    """Return the parts that no transaction before has stored; sequences only grow, and progress is stored with them."""
    ids = list({part.series_id for part in parts})
    ends = {row["series_id"]: row["last_sequence"] for row in await connection.fetch(SQL["tick_sequences"], ids)}
    return [part for part in parts if part.first_sequence > (ends.get(part.series_id) or 0)]


def _joined(parts: Sequence[StoredTicks]) -> list[StoredTicks]:
    """Join what follows each other in a series: a part costs much more than a row."""
    runs: dict[int, list[list[StoredTicks]]] = {}
    for part in parts:
        of_series = runs.setdefault(part.series_id, [])
        last = of_series[-1][-1] if of_series else None
        if last is None or last.first_sequence + len(last.columns) != part.first_sequence:
            of_series.append([])
        of_series[-1].append(part)
    return [
        StoredTicks(series_id, TickColumns.concatenate([part.columns for part in run]), run[0].first_sequence)
        for series_id, of_series in runs.items()
        for run in of_series
    ]


async def _copy_ticks(connection: Any, given: Sequence[StoredTicks]) -> None:
    parts = _joined(given)
    columns = [_values(part) for part in parts]
    values = {name: np.concatenate([one[name] for one in columns]) for name in _ROWS.names}
    rows = len(values["series_id"])
    nulls = {name: np.isnan(values[name]) for name in _FLOATS}
    nulls |= {name: values[name] == MISSING for name in (*_IDS, "publish_time")}
    source = _ROWS.encode(values, rows, nulls)
    await connection.copy_to_table("ticks", schema_name="datahub", columns=_ROWS.names, source=source, format="binary")
    ends = {part.series_id: part for part in parts}
    counts = dict.fromkeys(ends, 0)
    for part in parts:
        counts[part.series_id] += len(part.columns)
    await connection.execute(
        SQL["tick_progress_put"],
        list(ends),
        [from_ns(int(part.columns.event_time_ns.max())) for part in ends.values()],
        [part.first_sequence + len(part.columns) - 1 for part in ends.values()],
        [counts[series_id] for series_id in ends],
    )


def _values(part: StoredTicks) -> dict[str, Any]:
    ticks, rows = part.columns, len(part.columns)
    received = np.full(rows, MISSING) if ticks.receive_time_ns is None else ticks.receive_time_ns
    received = np.where(received == MISSING, ticks.event_time_ns, received)  # stands for none; the column takes no null
    # MISSING stays what it is when it is divided, and has no nanoseconds.
    published = np.full(rows, MISSING) if ticks.publish_time_ns is None else ticks.publish_time_ns
    kinds = np.full(rows, TickKind.TRADE, np.int16) if ticks.kind is None else ticks.kind.astype(np.int16)
    zeros = np.zeros(rows, np.int16)
    values: dict[str, Any] = {
        "series_id": np.full(rows, part.series_id, np.int32),
        "event_ns": (ticks.event_time_ns % 1_000).astype(np.int16),
        "receive_ns": (received % 1_000).astype(np.int16),
        "event_time": ticks.event_time_ns // 1_000,
        "receive_time": received // 1_000,
        "publish_ns": np.where(published == MISSING, 0, published % 1_000).astype(np.int16),
        "publish_time": published // 1_000,
        "sequence": np.arange(part.first_sequence, part.first_sequence + rows, dtype=np.int64),
        "kind": kinds,
        "side": zeros if ticks.side is None else ticks.side.astype(np.int16),
        "flags": zeros if ticks.flags is None else ticks.flags.astype(np.int16),
    }
    for name in _IDS:
        column = getattr(ticks, name)
        values[name] = np.full(rows, MISSING, np.int64) if column is None else column
    for name in _FLOATS:
        column = getattr(ticks, name)
        values[name] = np.full(rows, np.nan) if column is None else column
    return values


def _filled_by(bars: Sequence[BuiltBar]) -> dict[int, tuple[int, int]]:
    """Return the tick that filled the last bar, and the end of that bar, by series of bars that trades fill."""
    return {
        built.series_id: (built.end_sequence, built.bar.close_time_ns or built.bar.open_time_ns)
        for built in bars
        if built.end_sequence
    }


async def _put_progress(connection: Any, progress: Mapping[int, tuple[int, int]], bars: Sequence[BuiltBar]) -> None:
    await connection.execute(
        SQL["tick_progress_put"],
        list(progress),
        [from_ns(time_ns) for _, time_ns in progress.values()],
        [sequence for sequence, _ in progress.values()],
        [sum(built.series_id == series_id for built in bars) for series_id in progress],
    )


async def _put_bars(connection: Any, bars: Sequence[BuiltBar]) -> None:
    # A bar that closed and was revised within one flush is written once, as it is now.
    latest = {(built.series_id, built.bar.open_time_ns, built.origin): built for built in bars}
    rows = [
        (
            built.series_id,
            from_ns(built.bar.open_time_ns),
            from_ns(built.bar.close_time_ns or built.interval.next_boundary_ns(built.bar.open_time_ns)),
            built.bar.open,
            built.bar.high,
            built.bar.low,
            built.bar.close,
            built.bar.volume,
            built.bar.trade_count,
            built.bar.vwap,
            int(built.origin),
        )
        for built in latest.values()
    ]
    columns = [list(column) for column in zip(*rows, strict=True)]
    await connection.execute(SQL["live_bars_put"], *columns)
    await connection.execute(SQL["live_bars_last"], *columns[:8], columns[10])
