"""Coarser bars from finer ones, respecting sessions: at once, or from pages of any number of rows."""

from __future__ import annotations

import numpy as np

from quasar.model.bars import BarColumns, BarState
from quasar.model.columns import MISSING, FloatArray, Int64Array, Uint8Array, group_sums, ratios
from quasar.model.instants import MISSING_NS, NS_PER_DAY
from quasar.model.intervals import Interval
from quasar.model.sessions import Sessions, SessionSource
from quasar.model.violations import violation


def aggregate(
    columns: BarColumns,
    source: Interval,
    target: Interval,
    calendar: SessionSource | None = None,
    *,
    complete_until_ns: int | None = None,
) -> BarColumns:
    """Build coarser bars; a bar is made only where there are finer ones.

    Bars of a day and longer of a market with sessions are keyed by session date and hold what traded inside sessions
    only; finer bars outside every session are left out of them. Shorter bars are cut by the UTC clock.

    Volumes are added in the order of time. A coarser bar has a volume when any finer one has, a trade count when all
    have, and a vwap when all that have volume have one.

    Args:
        columns: Bars of the finer interval, any order, one per open time.
        source: The interval of `columns`.
        target: The interval to build.
        calendar: The market's sessions; None cuts everything by UTC.
        complete_until_ns: Up to where the finer bars are known to be complete. Bars that close later are `FORMING`.

    Returns:
        Bars by open time, with close times (for dated bars of a market with sessions the close of the last session)
        and, where not all are closed, states.

    Raises:
        InvalidArgument: The finer bars do not add up to the coarser ones.
    """
    if not source.divides(target):
        raise violation("interval", f"a multiple of {source.code}, the interval of the bars at hand", target.code)
    rows = columns.sort()
    if not len(rows):
        return rows
    keys, ends = _places(rows, source, target, calendar)
    placed = keys != MISSING_NS
    if not placed.all():
        rows, keys, ends = rows[placed], keys[placed], ends[placed]
    if not len(rows):
        return rows
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    lasts = np.append(starts[1:], len(keys)) - 1
    group = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(keys))))
    closes = ends[lasts]
    return BarColumns(
        open_time_ns=keys[starts],
        open=rows.open[starts],
        high=np.maximum.reduceat(rows.high, starts),
        low=np.minimum.reduceat(rows.low, starts),
        close=rows.close[lasts],
        volume=_sums(rows.volume, group, len(starts)),
        close_time_ns=closes,
        trade_count=_counts(rows.trade_count, starts),
        vwap=_vwaps(rows, group, len(starts)),
        quote_volume=None if rows.quote_volume is None else _sums(rows.quote_volume, group, len(starts)),
        adjusted_close=None if rows.adjusted_close is None else rows.adjusted_close[lasts],
        dividend=None if rows.dividend is None else _sums(rows.dividend, group, len(starts)),
        split_factor=None if rows.split_factor is None else np.multiply.reduceat(rows.split_factor, starts),
        open_interest=None if rows.open_interest is None else rows.open_interest[lasts],
        state=_states(rows.state, starts, closes, complete_until_ns),
        known_time_ns=None if rows.known_time_ns is None else np.maximum.reduceat(rows.known_time_ns, starts),
    )


class PagedAggregation:
    """`aggregate` over pages of rows, in the memory of one page and one coarser bar.

    Pages follow each other in time, or precede each other when they are taken `backwards`; each is ascending in itself.
    A coarser bar is given out when a page has shown that no row of it is left.
    """

    def __init__(
        self, source: Interval, target: Interval, calendar: SessionSource | None = None, *, backwards: bool = False
    ) -> None:
        """Start without a row; the arguments are those of `aggregate`.

        Raises:
            InvalidArgument: The finer bars do not add up to the coarser ones.
        """
        aggregate(BarColumns.empty(), source, target)
        self._intervals = source, target
        self._calendar = calendar
        self._backwards = backwards
        self._waiting = BarColumns.empty()

    def add(self, page: BarColumns) -> BarColumns:
        """Take the next page; return the bars that are whole now, by open time."""
        rows = BarColumns.concatenate([page, self._waiting] if self._backwards else [self._waiting, page])
        if not len(rows):
            return rows
        keys, _ = _places(rows, *self._intervals, self._calendar)
        placed = keys != MISSING_NS
        if not placed.all():
            rows, keys = rows[placed], keys[placed]
        if not len(rows):
            self._waiting = rows
            return rows
        if self._backwards:
            cut = int(np.searchsorted(keys, keys[0], side="right"))
            self._waiting, whole = rows[:cut], rows[cut:]
        else:
            cut = int(np.searchsorted(keys, keys[-1]))
            whole, self._waiting = rows[:cut], rows[cut:]
        return aggregate(whole, *self._intervals, self._calendar)

    def finish(self) -> BarColumns:
        """Return the bar that is left when no page follows, or nothing."""
        rows, self._waiting = self._waiting, BarColumns.empty()
        return aggregate(rows, *self._intervals, self._calendar)


def _places(
    rows: BarColumns, source: Interval, target: Interval, calendar: SessionSource | None
) -> tuple[Int64Array, Int64Array]:
    """Return for each row the open and the close time of the coarser bar that it belongs to."""
    times = rows.open_time_ns
    if calendar is None or calendar.always_open or not target.is_dated:
        return target.floors(times), target.closes(times)
    span = target.floor_ns(int(times[0]) - NS_PER_DAY), target.next_boundary_ns(int(times[-1]) + NS_PER_DAY)
    sessions = calendar.sessions(span[0] - NS_PER_DAY, span[1] + NS_PER_DAY)
    if source.is_dated:
        keys = target.floors(times)
    else:
        index = sessions.index_of(times)
        keys = np.where(index < 0, MISSING_NS, target.floors(np.append(sessions.date_ns, 0)[index]))
    return keys, _last_closes(keys, target, sessions)


def _last_closes(keys: Int64Array, target: Interval, sessions: Sessions) -> Int64Array:
    """Return for each bar the close of its last session, or the end of its interval when no session is known."""
    session_keys = target.floors(sessions.date_ns)
    index = np.searchsorted(session_keys, keys, side="right") - 1
    known = (index >= 0) & (np.append(session_keys, 0)[index] == keys)
    ends = target.closes(np.where(keys == MISSING_NS, 0, keys))
    return np.where(known, np.append(sessions.close_ns, 0)[index], ends)


def _sums(values: FloatArray, group: Int64Array, groups: int) -> FloatArray:
    """Add up per group; NaN where no row has a value."""
    present = ~np.isnan(values)
    sums = group_sums(group, np.where(present, values, 0.0), groups)
    return np.where(group_sums(group, present, groups) > 0, sums, np.nan)


def _counts(counts: Int64Array | None, starts: Int64Array) -> Int64Array | None:
    if counts is None:
        return None
    missing = np.logical_or.reduceat(counts == MISSING, starts)
    return np.where(missing, MISSING, np.add.reduceat(np.where(counts == MISSING, 0, counts), starts))


def _vwaps(rows: BarColumns, group: Int64Array, groups: int) -> FloatArray | None:
    if rows.vwap is None:
        return None
    traded = rows.volume > 0
    value = group_sums(group, np.where(traded, rows.vwap * rows.volume, 0.0), groups)
    return ratios(value, group_sums(group, np.where(traded, rows.volume, 0.0), groups))


def _states(
    states: Uint8Array | None, starts: Int64Array, closes: Int64Array, complete_until_ns: int | None
) -> Uint8Array | None:
    if states is None and complete_until_ns is None:
        return None
    result = np.full(len(starts), BarState.CLOSED, dtype=np.uint8)
    if states is not None:
        result[np.logical_or.reduceat(states == BarState.REVISED, starts)] = BarState.REVISED
        result[np.logical_or.reduceat(states == BarState.FORMING, starts)] = BarState.FORMING
    if complete_until_ns is not None:
        result[closes > complete_until_ns] = BarState.FORMING
    return result
