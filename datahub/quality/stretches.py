"""Which stretches of a series are checked at once: whole sessions, and no more than is good for the memory."""

from __future__ import annotations

import datetime as dt

from datahub.series.series import Series
from datahub.store.quality_table import Extent
from quasar.model.instants import NS_PER_DAY, TimeRange, to_ns

_SLOTS = 50_000
_LONGEST_NS = 20 * 366 * NS_PER_DAY
_WITHOUT_LENGTH_NS = 31 * NS_PER_DAY
_LOOK_BACK_DATED_NS = 40 * NS_PER_DAY


def whole(extent: Extent, now_ns: int) -> TimeRange | None:
    """Return everything there is of a series up to now; None where that is nothing."""
    ranges = [each for each in (extent.classified, extent.bars) if each is not None]
    if not ranges:
        return None
    start, end = min(each.start_ns for each in ranges), max(each.end_ns for each in ranges)
    return TimeRange(start, min(end, now_ns)) if start < min(end, now_ns) else None


def next_stretch(series: Series, everything: TimeRange, swept_until: dt.datetime | None) -> TimeRange:
    """Return the stretch of a series' history to look at next, whole sessions."""
    start = everything.start_ns if swept_until is None else max(to_ns(swept_until), everything.start_ns)
    if start >= everything.end_ns:
        start = everything.start_ns
    return aligned(series, TimeRange(start, min(start + _length_ns(series), everything.end_ns)))


def parts(series: Series, span: TimeRange) -> list[TimeRange]:
    """Return a range in stretches of whole sessions, from before it: its first bar may end what began before."""
    back = _LOOK_BACK_DATED_NS if series.interval.is_time and series.interval.is_dated else 1
    start, stretches = span.start_ns - back, []
    while start < span.end_ns:
        stretch = aligned(series, TimeRange(start, min(start + _length_ns(series), span.end_ns)))
        stretches.append(stretch)
        start = stretch.end_ns
    return stretches


def aligned(series: Series, span: TimeRange) -> TimeRange:
    """Return a range extended to whole days, and to whole sessions where the market has hours."""
    start = span.start_ns - span.start_ns % NS_PER_DAY
    end = -(-span.end_ns // NS_PER_DAY) * NS_PER_DAY
    interval = series.interval
    if series.calendar.always_open or (interval.is_time and interval.is_dated):
        return TimeRange(start, end)
    # Findings are replaced by where they begin: a stretch that began in the midst of a session would part them.
    first = series.calendar.sessions(start, start + 1)
    last = series.calendar.sessions(end - 1, end)
    length = interval.length_ns if interval.is_time else 0
    if len(first):
        start = int(first.open_ns[0])
        start -= start % length if length else 0
    if len(last):
        end = int(last.close_ns[-1])
    return TimeRange(start, max(end, span.end_ns))


def _length_ns(series: Series) -> int:
    interval = series.interval
    if not interval.is_time:
        return _WITHOUT_LENGTH_NS
    return min((interval.length_ns or 31 * NS_PER_DAY) * _SLOTS, _LONGEST_NS)


def reaches_end(span: TimeRange, everything: TimeRange) -> bool:
    """Tell whether a stretch reaches the newest of what there is."""
    return span.end_ns >= everything.end_ns
