"""Intervals: how much of the market one bar covers, and where bars begin.

Bars of time begin at multiples of their length counted from Monday 2000-01-03 00:00 UTC, which is also the origin of
TimescaleDB's `time_bucket`. For every length that divides a day that is the clock of the day; weeks begin on Monday
00:00 UTC; months begin on the 1st, 00:00 UTC.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from quasar.model.instants import (
    NS_PER_DAY,
    NS_PER_HOUR,
    NS_PER_MINUTE,
    NS_PER_SECOND,
    Instant,
    from_ns,
    ns_date,
    to_ns,
)
from quasar.model.violations import violation

Int64Array = npt.NDArray[np.int64]

ORIGIN_NS = 10_959 * NS_PER_DAY
"""Monday 2000-01-03 00:00 UTC."""

_WEEK_NS = 7 * NS_PER_DAY
_UNITS_NS = {"s": NS_PER_SECOND, "min": NS_PER_MINUTE, "h": NS_PER_HOUR, "d": NS_PER_DAY, "w": _WEEK_NS}
_CANONICAL_ORDER = ("w", "d", "h", "min", "s")
_WORDS = {"minutely": "1min", "hourly": "1h", "daily": "1d", "weekly": "1w", "monthly": "1M"}
_UNIT_ALIASES = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), "min"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("d", "day", "days"), "d"),
    **dict.fromkeys(("w", "wk", "wks", "week", "weeks"), "w"),
    **dict.fromkeys(("mo", "mon", "mth", "month", "months"), "M"),
    **dict.fromkeys(("tick", "ticks"), "tick"),
    **dict.fromkeys(("volume", "vol"), "volume"),
    **dict.fromkeys(("value", "dollar", "dollars"), "value"),
}
_FORM = re.compile(r"(?P<count>[0-9]+(?:\.[0-9]+)?)[ _-]?(?P<unit>[A-Za-z]+)")
_RULE = "an interval such as 1min, 5min, 1h, 1d, 1w, 1M (a month), 500tick, 10000volume or 1000000value"

CANONICAL_CODES = ("1min", "5min", "15min", "30min", "1h", "4h", "1d", "1w", "1M")
"""The intervals that every part of the platform offers by name."""


class IntervalKind(StrEnum):
    """What fills a bar."""

    TIME = "time"
    TICK = "tick"
    VOLUME = "volume"
    VALUE = "value"


@dataclass(frozen=True, slots=True)
class Interval:
    """How much of the market one bar covers. Made by `Interval.parse`; equal when the codes are equal."""

    code: str
    """The canonical form, for example `5min`."""
    kind: IntervalKind
    """What fills a bar."""
    length_ns: int = 0
    """Length of a bar of fixed length; 0 for months and for bars that are not of time."""
    size: float = 0.0
    """Ticks, volume or quote value that close a bar; 0 for bars of time."""

    @staticmethod
    def parse(text: str, field: str = "interval") -> Interval:
        """Read an interval in its canonical form or one of its aliases.

        `1m` is a minute and `1M` a month; otherwise case does not matter. `60min`, `1mo` and `daily` are read as `1h`,
        `1M` and `1d`.

        Args:
            text: What a person or a vendor wrote.
            field: The name used in the error.

        Raises:
            InvalidArgument: The text is not an interval.
        """
        if not isinstance(text, str):
            raise violation(field, _RULE, text)
        return _parse(text.strip(), field)

    def __str__(self) -> str:
        """Return the canonical form."""
        return self.code

    @property
    def is_time(self) -> bool:
        """Whether bars are cut by time, and so have slots that can be expected."""
        return self.kind is IntervalKind.TIME

    @property
    def is_month(self) -> bool:
        """Whether a bar is one calendar month."""
        return self.is_time and not self.length_ns

    @property
    def is_dated(self) -> bool:
        """Whether bars are a day or longer and so are keyed by a date on markets with sessions."""
        return self.is_month or (self.is_time and self.length_ns % NS_PER_DAY == 0)

    @property
    def duration(self) -> dt.timedelta | None:
        """The fixed length of a bar, or None when it has none."""
        return dt.timedelta(microseconds=self.length_ns // 1_000) if self.length_ns else None

    @property
    def cron(self) -> str | None:
        """The sparsest cron expression that fires at every boundary (UTC); None for bars that are not of time.

        Cron knows no seconds: intervals below a minute fire every minute.
        """
        if not self.is_time:
            return None
        if self.is_month:
            return "0 0 1 * *"
        if self.length_ns == _WEEK_NS:
            return "0 0 * * 1"
        return _cron_of_minutes(max(1, self.length_ns // NS_PER_MINUTE))

    def divides(self, coarser: Interval) -> bool:
        """Tell whether bars of this interval add up exactly to bars of the other one."""
        if not (self.is_time and coarser.is_time) or self.is_month:
            return self == coarser
        if coarser.is_month:
            return NS_PER_DAY % self.length_ns == 0
        return coarser.length_ns % self.length_ns == 0

    def floor_ns(self, time_ns: int) -> int:
        """Return the open time of the bar that an instant falls in.

        Raises:
            InvalidArgument: Bars of this interval are not cut by time.
        """
        self._need_time()
        if self.length_ns:
            return time_ns - (time_ns - ORIGIN_NS) % self.length_ns
        return _month_start_ns(_month_index(time_ns))

    def next_boundary_ns(self, time_ns: int) -> int:
        """Return the first open time strictly after an instant, which is when the present bar closes."""
        start = self.floor_ns(time_ns)
        return start + self.length_ns if self.length_ns else _month_start_ns(_month_index(start) + 1)

    def ceil_ns(self, time_ns: int) -> int:
        """Return the first open time at or after an instant."""
        return time_ns if self.floor_ns(time_ns) == time_ns else self.next_boundary_ns(time_ns)

    def floor(self, time: dt.datetime) -> dt.datetime:
        """Return the open time of the bar that an aware time falls in, in UTC."""
        return from_ns(self.floor_ns(to_ns(time)))

    def next_boundary(self, time: dt.datetime) -> dt.datetime:
        """Return the first open time strictly after an aware time, in UTC."""
        return from_ns(self.next_boundary_ns(to_ns(time)))

    def floors(self, times_ns: Int64Array) -> Int64Array:
        """Return the open time of the bar of each instant: int64 ns in, int64 ns of the same shape out."""
        self._need_time()
        times = np.asarray(times_ns, dtype=np.int64)
        if self.length_ns:
            phase = ORIGIN_NS % self.length_ns  # times minus the origin would overflow in the 1700s
            return np.asarray(times - (times % self.length_ns - phase) % self.length_ns, dtype=np.int64)
        return _month_starts_ns(_month_indices(times))

    def closes(self, opens_ns: Int64Array) -> Int64Array:
        """Return the first boundary after each instant: int64 ns in, int64 ns of the same shape out."""
        self._need_time()
        opens = np.asarray(opens_ns, dtype=np.int64)
        if self.length_ns:
            return self.floors(opens) + self.length_ns
        return _month_starts_ns(_month_indices(opens) + 1)

    def slots(self, start: Instant, end: Instant) -> Int64Array:
        """Return the open times in [start, end), ascending, as int64 nanoseconds."""
        first, last = self.ceil_ns(to_ns(start, "start")), to_ns(end, "end")
        if self.length_ns:
            return np.arange(first, last, self.length_ns, dtype=np.int64)
        months = np.arange(_month_index(first), _month_index(max(first, last)) + 1, dtype=np.int64)
        starts = _month_starts_ns(months)
        return starts[starts < last]

    def slot_count(self, start: Instant, end: Instant) -> int:
        """Return how many slots `slots` has, without building them."""
        if not self.length_ns:
            return len(self.slots(start, end))
        first, last = self.ceil_ns(to_ns(start, "start")), self.ceil_ns(to_ns(end, "end"))
        return max(0, last - first) // self.length_ns

    def _need_time(self) -> None:
        if not self.is_time:
            raise violation("interval", "cut by time to have boundaries", self.code)


@lru_cache(maxsize=4096)
def _parse(text: str, field: str) -> Interval:
    match = _FORM.fullmatch(_WORDS.get(text.lower(), text))
    if match is None:
        raise violation(field, _RULE, text)
    unit = "M" if match["unit"] == "M" else _UNIT_ALIASES.get(match["unit"].lower())
    try:
        count = Decimal(match["count"])
    except InvalidOperation:  # pragma: no cover - the pattern admits numbers only
        raise violation(field, _RULE, text) from None
    if unit is None or count <= 0:
        raise violation(field, _RULE, text)
    if unit in ("volume", "value"):
        plain = format(count.normalize(), "f")
        return Interval(f"{plain}{unit}", IntervalKind(unit), size=float(count))
    if count != count.to_integral_value():
        raise violation(field, "a whole number of units", text)
    return _counted(int(count), unit, text, field)


def _counted(count: int, unit: str, text: str, field: str) -> Interval:
    if unit == "tick":
        return Interval(f"{count}tick", IntervalKind.TICK, size=float(count))
    if unit == "M":
        if count != 1:
            raise violation(field, "1M for a month (minutes are written min, as in 5min)", text)
        return Interval("1M", IntervalKind.TIME)
    length = count * _UNITS_NS[unit]
    if length > 366 * NS_PER_DAY:
        raise violation(field, "no longer than 366 days", text)
    return Interval(_code_of_length(length), IntervalKind.TIME, length_ns=length)


def _code_of_length(length_ns: int) -> str:
    """Name a length by its largest whole unit, but by weeks only when it is one week."""
    for unit in _CANONICAL_ORDER:
        if length_ns % _UNITS_NS[unit] == 0 and (unit != "w" or length_ns == _WEEK_NS):
            return f"{length_ns // _UNITS_NS[unit]}{unit}"
    raise AssertionError(length_ns)


def _cron_of_minutes(minutes: int) -> str:
    if minutes % 60:
        step = math.gcd(minutes, 60)
        return "* * * * *" if step == 1 else f"*/{step} * * * *"
    step = math.gcd(minutes // 60, 24)
    if step == 24:
        return "0 0 * * *"
    return "0 * * * *" if step == 1 else f"0 */{step} * * *"


def _month_index(time_ns: int) -> int:
    day = ns_date(time_ns)
    return day.year * 12 + day.month - 1 - 1970 * 12


def _month_start_ns(index: int) -> int:
    year, month = divmod(index + 1970 * 12, 12)
    return (dt.date(year, month + 1, 1).toordinal() - 719_163) * NS_PER_DAY


def _month_indices(times_ns: Int64Array) -> Int64Array:
    return times_ns.astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64)


def _month_starts_ns(indices: Int64Array) -> Int64Array:
    return indices.astype("datetime64[M]").astype("datetime64[ns]").astype(np.int64)
