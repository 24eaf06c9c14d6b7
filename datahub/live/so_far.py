"""Bars of some hours and of days that were forming when the process ended: their trades are summed by the database.

Bars of up to an hour are built again from their trades. A day has too many to read them all for every symbol, and a
week or a month too many even to sum them at each start: those are left to the provider's history after a restart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from datahub.live.bars import SoFar
from datahub.live.symbols import LiveSeries
from datahub.store.statements import SQL
from quasar.database.pool import Database
from quasar.model.instants import NS_PER_DAY, NS_PER_HOUR, from_ns, to_ns
from quasar.model.intervals import Interval
from quasar.model.slots import Slot, slots_of
from quasar.model.tick_bars import TradeSums

READ_NS: Final = NS_PER_HOUR
"""Bars of time up to this length are built again from their trades."""
SUMMED_NS: Final = NS_PER_DAY
"""Longer ones, up to this length, from the sums of their trades."""


@dataclass(frozen=True, slots=True)
class Window:
    """The trades of a symbol that are read: those since a time, and those after a number that are not too old."""

    series: LiveSeries
    event_ns: int
    """Event time of the last trade."""
    since_ns: int
    number: int
    earliest_ns: int


@dataclass(frozen=True, slots=True)
class _Asked:
    window: Window
    interval: Interval
    slot: Slot
    ranges: Sequence[tuple[int, int]]


async def read_so_far(database: Database, windows: Sequence[Window]) -> dict[int, dict[Interval, SoFar]]:
    """Return the bars that are longer than those which trades are read for, by series of ticks and interval."""
    asked = [one for window in windows for one in _forming(window)]
    if not asked:
        return {}
    complete = await _complete(database, asked)
    sums = await _sums(database, asked)
    found: dict[int, dict[Interval, SoFar]] = {}
    for one, complete_from_ns, summed in zip(asked, complete, sums, strict=True):
        of_series = found.setdefault(one.window.series.ticks.series_id, {})
        of_series[one.interval] = SoFar(one.slot, summed, complete_from_ns)
    return found


def _forming(window: Window) -> list[_Asked]:
    found = []
    for interval, bars in window.series.bars.items():
        if not (interval.is_time and READ_NS < interval.length_ns <= SUMMED_NS):
            continue
        slots = slots_of(interval, bars.calendar)
        slot = slots.at(window.event_ns)
        if slot is not None:
            found.append(_Asked(window, interval, slot, slots.ranges(slot.open_time_ns)))
    return found


async def _complete(database: Database, asked: Sequence[_Asked]) -> list[int]:
    ids = [one.window.series.ticks.series_id for one in asked]
    begins_ns = [one.ranges[0][0] for one in asked]
    rows = await database.fetch(SQL["live_complete_of"], ids, [from_ns(each) for each in begins_ns])
    return [
        max(
            begin_ns if row["older"] else to_ns(row["first"]) if row["first"] else begin_ns,
            to_ns(row["hole_end"]) if row["hole_end"] else 0,
        )
        for row, begin_ns in zip(rows, begins_ns, strict=True)
    ]


async def _sums(database: Database, asked: Sequence[_Asked]) -> list[TradeSums | None]:
    parts = [(place, begin, end) for place, one in enumerate(asked) for begin, end in one.ranges]
    windows = [asked[place].window for place, _, _ in parts]
    rows = await database.fetch(
        SQL["live_sums"],
        [window.series.ticks.series_id for window in windows],
        [from_ns(begin) for _, begin, _ in parts],
        [from_ns(end) for _, _, end in parts],
        [from_ns(window.since_ns) for window in windows],
        [window.number for window in windows],
        [from_ns(window.earliest_ns) for window in windows],
    )
    found: list[TradeSums | None] = [None] * len(asked)
    for (place, _, _), row in zip(parts, rows, strict=True):
        if row["count"]:
            own, before = _sums_of(row), found[place]
            found[place] = own if before is None else before.then(own)
    return found


def _sums_of(row: Any) -> TradeSums:
    return TradeSums(
        to_ns(row["first_time"]) + row["first_ns"],
        to_ns(row["last_time"]) + row["last_ns"],
        row["open"],
        row["high"],
        row["low"],
        row["close"],
        row["volume"],
        row["value"],
        row["count"],
    )
