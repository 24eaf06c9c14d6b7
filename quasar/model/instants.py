"""Instants and ranges of time, in nanoseconds UTC. A naive time is rejected: it names no instant."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from quasar.model.violations import violation

Instant = int | dt.datetime
"""Nanoseconds since 1970-01-01 UTC, or an aware datetime."""

NS_PER_MICROSECOND = 1_000
NS_PER_SECOND = 1_000_000_000
NS_PER_MINUTE = 60 * NS_PER_SECOND
NS_PER_HOUR = 60 * NS_PER_MINUTE
NS_PER_DAY = 24 * NS_PER_HOUR

MISSING_NS = -(2**63)
"""Stands in int64 columns where there is no value; numpy reads it as NaT."""

MIN_NS = -9_214_560_000_000_000_000
"""1678-01-01; together with `MAX_NS` the years that fit nanoseconds in 64 bits."""
MAX_NS = 9_214_646_400_000_000_000
"""2262-01-01."""

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def to_ns(value: Instant, field: str = "time") -> int:
    """Return an instant as nanoseconds since 1970-01-01 UTC, exactly.

    Args:
        value: An aware datetime in any zone, or nanoseconds, which pass through.
        field: The name used in the error.

    Raises:
        InvalidArgument: The datetime is naive, or outside the years 1678 to 2261.
    """
    if isinstance(value, dt.datetime):
        if value.tzinfo is None or value.utcoffset() is None:
            raise violation(field, "aware, for example with tzinfo=datetime.UTC", value.isoformat())
        since = value - _EPOCH
        value = (since.days * 86_400 + since.seconds) * NS_PER_SECOND + since.microseconds * NS_PER_MICROSECOND
    if isinstance(value, bool) or not isinstance(value, int):
        raise violation(field, "an aware datetime or integer nanoseconds", value)
    if not MIN_NS <= value <= MAX_NS:
        raise violation(field, "within the years 1678 to 2261", value)
    return value


def from_ns(value: int) -> dt.datetime:
    """Return nanoseconds as an aware UTC datetime; what is finer than a microsecond is cut off."""
    return _EPOCH + dt.timedelta(microseconds=int(value) // NS_PER_MICROSECOND)


def day_ns(day: dt.date) -> int:
    """Return 00:00 UTC of a date in nanoseconds; a datetime counts as the date that it shows."""
    return (day.toordinal() - 719_163) * NS_PER_DAY


def ns_date(value: int) -> dt.date:
    """Return the UTC date of an instant in nanoseconds."""
    return dt.date.fromordinal(value // NS_PER_DAY + 719_163)


@dataclass(frozen=True, slots=True, order=True)
class TimeRange:
    """A half-open range of time, [start, end)."""

    start_ns: int
    """First instant of the range."""
    end_ns: int
    """First instant after the range; equal to `start_ns` when the range is empty."""

    def __post_init__(self) -> None:
        """Check the order of the ends."""
        if self.start_ns > self.end_ns:
            raise violation("start", f"at or before the end ({from_ns(self.end_ns)})", str(from_ns(self.start_ns)))

    @classmethod
    def of(cls, start: Instant, end: Instant) -> TimeRange:
        """Build a range from instants.

        Raises:
            InvalidArgument: A time is naive, or the start is after the end.
        """
        return cls(to_ns(start, "start"), to_ns(end, "end"))

    @property
    def start(self) -> dt.datetime:
        """The first instant as an aware datetime."""
        return from_ns(self.start_ns)

    @property
    def end(self) -> dt.datetime:
        """The first instant after the range as an aware datetime."""
        return from_ns(self.end_ns)

    @property
    def length_ns(self) -> int:
        """Nanoseconds between the ends."""
        return self.end_ns - self.start_ns

    def __contains__(self, instant: Instant) -> bool:
        """Tell whether an instant lies in the range."""
        return self.start_ns <= to_ns(instant) < self.end_ns

    def intersect(self, other: TimeRange) -> TimeRange | None:
        """Return what both ranges cover, or None when that is nothing."""
        start, end = max(self.start_ns, other.start_ns), min(self.end_ns, other.end_ns)
        return TimeRange(start, end) if start < end else None
