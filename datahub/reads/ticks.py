"""Stored ticks in columns, page after page, in the order of their time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from datahub.series.series import Series
from datahub.store import bar_table
from datahub.store.statements import SQL
from quasar.database.copy import Column, RowFormat
from quasar.database.pool import Database
from quasar.model.columns import MISSING
from quasar.model.instants import TimeRange, from_ns
from quasar.model.ticks import TickColumns, TickFlag, TickKind

PAGE_ROWS: Final = 20_000
"""Rows of one statement."""
ALL_KINDS: Final = tuple(TickKind)
_FLOATS: Final = ("price", "size", "bid_price", "bid_size", "ask_price", "ask_size")
_INTEGERS: Final = ("venue_sequence", "trade_id")
_BYTES: Final = ("kind", "side", "flags")
_FORMAT: Final = RowFormat(
    [
        Column("event_time", "timestamptz"),
        Column("event_ns", "int2"),
        Column("receive_time", "timestamptz"),
        Column("receive_ns", "int2"),
        Column("publish_time", "timestamptz"),
        Column("publish_ns", "int2"),
        Column("sequence", "int8"),
        *(Column(name, "int2") for name in _BYTES),
        *(Column(name, "float8") for name in _FLOATS),
        *(Column(name, "int8") for name in _INTEGERS),
    ]
)


class TickPlace(NamedTuple):
    """Where a tick stands among those of its series."""

    event_ns: int
    """Its event time, nanoseconds UTC."""
    sequence: int
    """Tells ticks of one instant apart."""


class TickPage(NamedTuple):
    """Some ticks of one series."""

    columns: TickColumns
    last: TickPlace
    """The place of the last one."""


class TickReader:
    """Reads ticks."""

    def __init__(self, database: Database) -> None:
        """Read from `database`."""
        self._database = database

    async def before_last(
        self, series: Series, span: TimeRange, kinds: Sequence[TickKind], count: int
    ) -> TickPlace | None:
        """Return the place before the newest `count` ticks of a range; None: there are no more than that."""
        row = await self._database.fetchrow(
            SQL["tick_before_last"], series.series_id, span.start, span.end, list(map(int, kinds)), count
        )
        return None if row is None else TickPlace(row["event_time_ns"], row["sequence"])

    async def pages(
        self, series: Series, span: TimeRange, kinds: Sequence[TickKind], *, after: TickPlace | None, rows: int
    ) -> AsyncGenerator[TickPage, None]:
        """Yield the ticks of a series in ascending order, at most `rows` at a time."""
        while True:
            page = await self.page(series, span, kinds, after=after, rows=rows)
            if page is None:
                return
            yield page
            if len(page.columns) < rows:
                return
            after = page.last

    async def page(
        self,
        series: Series,
        span: TimeRange,
        kinds: Sequence[TickKind],
        *,
        after: TickPlace | None,
        rows: int,
        newest_first: bool = False,
    ) -> TickPage | None:
        """Return the first or last ticks of a range; None when there are none.

        Args:
            series: A series of ticks.
            span: Range of event times.
            kinds: Which kinds are wanted.
            after: Begin behind this place, in the direction of reading.
            rows: How many at most.
            newest_first: Begin at the end, and return descending rows.
        """
        text = SQL["read_ticks"].format(
            direction="desc" if newest_first else "asc", beyond="<" if newest_first else ">"
        )
        place = after or (TickPlace(1 << 62, 1 << 62) if newest_first else TickPlace(-(1 << 62), -1))
        start, end = span.start, span.end
        if after is not None:  # lets the index begin there
            start = start if newest_first else max(start, from_ns(after.event_ns))
            end = min(end, from_ns(after.event_ns + 1_000)) if newest_first else end
        arguments = (series.series_id, start, end, list(map(int, kinds)), place.event_ns, place.sequence, rows)
        async with self._database.acquire() as connection:
            raw = await bar_table.copy_out(connection, text, *arguments)
        return _page(_FORMAT.decode(raw).columns)


def _page(columns: Any) -> TickPage | None:
    if not len(columns["sequence"]):
        return None
    event_ns = columns["event_time"] * 1_000 + columns["event_ns"]
    # Ticks that were not received but fetched hold their event time there; the epoch stands for not published.
    receive_ns = columns["receive_time"] * 1_000 + columns["receive_ns"]
    receive_ns = np.where(columns["flags"] & TickFlag.REFILLED, MISSING, receive_ns)
    publish_ns = columns["publish_time"] * 1_000 + columns["publish_ns"]
    publish_ns = np.where(publish_ns > 0, publish_ns, MISSING)
    ticks = TickColumns(
        event_time_ns=event_ns,
        receive_time_ns=receive_ns if (receive_ns != MISSING).any() else None,
        publish_time_ns=publish_ns if (publish_ns != MISSING).any() else None,
        **{name: columns[name].astype(np.uint8) for name in _BYTES if columns[name].any()},
        **{name: columns[name] for name in _FLOATS if not np.isnan(columns[name]).all()},
        **{name: columns[name] for name in _INTEGERS if (columns[name] >= 0).any()},
    )
    return TickPage(ticks, TickPlace(int(event_ns[-1]), int(columns["sequence"][-1])))
