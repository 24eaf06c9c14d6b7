"""What a read of bars is answered from: a stored series as it is, or bars computed from a finer one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datahub.series.series import Series, SeriesName
from quasar.model.instants import NS_PER_DAY
from quasar.model.intervals import Interval

_MONTH_NS = 31 * NS_PER_DAY


@dataclass(frozen=True, slots=True)
class Readable:
    """A stored series and the interval that it is read at."""

    series: Series
    """The series whose rows are read."""
    target: Interval | None = None
    """The coarser interval that bars are computed at; None: as stored."""

    @property
    def interval(self) -> Interval:
        """The interval of the bars that are read."""
        return self.target or self.series.interval

    @property
    def name(self) -> SeriesName:
        """The name of what is read."""
        stored = self.series.name
        return stored if self.target is None else SeriesName(stored.provider, stored.symbol, self.target.code)

    @classmethod
    def at(cls, series: Series, target: Interval | None) -> Readable:
        """Return a series read at an interval, which may be its own."""
        return cls(series, None if target is None or target == series.interval else target)


@dataclass(frozen=True, slots=True)
class Stored:
    """A series that holds bars."""

    series: Series
    first_ns: int | None
    """Open time of the first bar of its history; None: it has live bars only."""
    last_ns: int
    """Open time of its newest bar."""


def readable(name: SeriesName, own: Series | None, stored: Sequence[Stored]) -> Readable | None:
    """Choose what a request for a series is answered from.

    The series itself, when it has history or nothing finer has; else the finer series of the symbol that divides it: of
    those that are up to date the one that reaches back furthest, and among equals the coarsest, which is read fastest.

    Args:
        name: What is asked for.
        own: The series of that name, when there is one.
        stored: The series of the symbol that hold bars.

    Returns:
        The choice; None when there is neither the series nor a finer one.
    """
    target = Interval.parse(name.interval)
    mine = next((one for one in stored if one.series.name == name), None)
    finer = [one for one in stored if one.series.interval != target and one.series.interval.divides(target)]
    if mine is not None and (mine.first_ns is not None or all(one.first_ns is None for one in finer)):
        return Readable(mine.series)
    if not finer:
        return None if own is None else Readable(own)
    return Readable(_best(finer, target).series, target)


def _best(finer: Sequence[Stored], target: Interval) -> Stored:
    """Return the finer series to compute bars from."""
    length = target.length_ns or _MONTH_NS
    fresh_ns = max(one.last_ns for one in finer) - 2 * length - NS_PER_DAY

    def rank(one: Stored) -> tuple[bool, bool, int, int]:
        begins = 0 if one.first_ns is None else target.floor_ns(one.first_ns)
        return one.last_ns < fresh_ns, one.first_ns is None, begins, -one.series.interval.length_ns

    return min(finer, key=rank)
