"""When things are due: cron with offsets, what was missed, and which bars to ask a provider for. Nothing waits here.

Cron means what people mean: weekdays are 0 to 7 with 0 and 7 for Sunday, names are accepted, and when both the day of
the month and the weekday are restricted, either may match. A fixed hour happens once a day: where clocks are turned
back it is the first of the two, where they are turned forward it is moved on. APScheduler's `CronTrigger` computes the
times.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

from quasar.model.instants import NS_PER_DAY, TimeRange, to_ns
from quasar.model.intervals import Interval
from quasar.model.sessions import SessionSource
from quasar.model.violations import violation

_MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_WEEKDAY_PART = re.compile(r"(?P<first>\*|[0-7]|[a-z]{3})(?:-(?P<last>[0-7]|[a-z]{3}))?(?:/(?P<step>[1-9][0-9]?))?")
_NUMERIC = re.compile(r"(\*|[0-9]{1,2}(-[0-9]{1,2})?)(/[1-9][0-9]?)?(,(\*|[0-9]{1,2}(-[0-9]{1,2})?)(/[1-9][0-9]?)?)*")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_RULE = 'five fields "minute hour day month weekday", such as "0 16 * * 1-5", or @daily and the like'
_LAST_YEAR = dt.datetime(2261, 12, 31, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_TURNED_AT_MOST = dt.timedelta(hours=25)
"""Zones have crossed the date line; other changes are of an hour or less."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """One trigger; that of fixed hours counts on the wall clock of a zone, so that each of them comes once a day."""

    trigger: CronTrigger
    """In its zone; with `wall`, in UTC for what the wall clock shows."""
    wall: ZoneInfo | None

    def next(self, after: dt.datetime) -> dt.datetime | None:
        """Return the first time strictly after a UTC time, in UTC."""
        if self.wall is None:
            return self._found(after)
        # The clock may have been turned back since: begin before that, and leave out what lies behind.
        shown: dt.datetime | None = after.astimezone(self.wall).replace(tzinfo=dt.UTC) - _TURNED_AT_MOST
        while shown is not None and (shown := self._found(shown)) is not None:
            # The first of two; a time that the clock leaves out is moved on, as its offset before the change says.
            time = shown.replace(tzinfo=self.wall, fold=0).astimezone(dt.UTC)
            if time > after:
                return time
        return None

    def _found(self, after: dt.datetime) -> dt.datetime | None:
        found: dt.datetime | None = self.trigger.get_next_fire_time(None, after + _MICROSECOND)
        return None if found is None else found.astimezone(dt.UTC)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When something is due: a cron expression in a time zone, moved by a constant offset.

    Every time of the cron expression gives exactly one due time, `offset` after (or, when negative, before) it,
    whatever the length of the offset.
    """

    cron: str
    """Five fields, or one of @hourly @daily @weekly @monthly @yearly."""
    timezone: str = "UTC"
    """IANA name of the zone that the expression is meant in."""
    offset: dt.timedelta = dt.timedelta(0)
    """Added to every time of the expression."""
    _rules: tuple[_Rule, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile the expression.

        Raises:
            InvalidArgument: The expression or the zone is malformed, or the expression never matches.
        """
        object.__setattr__(self, "_rules", _compile(self.cron, self.timezone))

    def next_fire(self, after: dt.datetime) -> dt.datetime | None:
        """Return the first due time strictly after an aware time, in UTC; None when there is none before 2262."""
        to_ns(after, "after")
        base = after.astimezone(dt.UTC) - self.offset
        times = [time for rule in self._rules if (time := rule.next(base)) is not None]
        return min(times) + self.offset if times else None

    def fire_times(self, after: dt.datetime, count: int) -> list[dt.datetime]:
        """Return the next due times strictly after an aware time, in UTC, `count` of them."""
        times: list[dt.datetime] = []
        while len(times) < count and (time := self.next_fire(after)) is not None:
            times.append(time)
            after = time
        return times

    def last_fire(self, until: dt.datetime) -> dt.datetime | None:
        """Return the last due time at or before an aware time, in UTC; None when there was none for ten years."""
        to_ns(until, "until")
        until = until.astimezone(dt.UTC)
        reach = dt.timedelta(hours=1)
        while (found := self.next_fire(until - reach)) is None or found > until:
            if reach > dt.timedelta(days=3_700):
                return None
            reach *= 4
        low, high = found, until
        while (following := self.next_fire(low)) is not None and following <= until:
            middle = low + (high - low) / 2
            probe = self.next_fire(middle)
            if probe is not None and probe <= until:
                low = probe
            else:
                low, high = following, middle if middle > following else high
        return low


class Coalesce(StrEnum):
    """What becomes of several due times that were all missed."""

    LATEST = "latest"
    """Run once, for the last of them: right where one run does the work of all, as in collection."""
    ALL = "all"
    """Run once for each, oldest first."""


@dataclass(frozen=True, slots=True)
class MisfirePolicy:
    """What becomes of due times that passed while nobody looked."""

    grace: dt.timedelta | None = None
    """How late a run may start; None: however late. What is later than that is dropped."""
    coalesce: Coalesce = Coalesce.LATEST
    """Whether missed times run once or each."""
    limit: int = 1_000
    """Most due times that `ALL` returns at once, the oldest ones; the rest follow in the next call."""


def due_times(schedule: Schedule, since: dt.datetime, now: dt.datetime, policy: MisfirePolicy) -> list[dt.datetime]:
    """Return the due times in (since, now] that should run now, oldest first.

    Args:
        schedule: When runs are due.
        since: The last due time that was taken care of.
        now: The present time.
        policy: What becomes of those that are late.
    """
    if policy.grace is not None:
        since = max(since, now - policy.grace - _MICROSECOND)
    if policy.coalesce is Coalesce.LATEST:
        last = schedule.last_fire(now)
        return [last] if last is not None and last > since else []
    times: list[dt.datetime] = []
    time = schedule.next_fire(since)
    while time is not None and time <= now and len(times) < policy.limit:
        times.append(time)
        time = schedule.next_fire(time)
    return times


def history_range(
    interval: Interval,
    now: dt.datetime,
    *,
    last_open_ns: int | None = None,
    lookback_days: int = 8_000,
    delay: dt.timedelta = dt.timedelta(0),
    calendar: SessionSource | None = None,
) -> TimeRange | None:
    """Return which open times to ask a provider of history for, or None when nothing can be there yet.

    The range ends with the last bar that is over: for daily bars yesterday (UTC), for hourly bars the hour before this
    one. A series without bars starts `lookback_days` before that, at midnight UTC, so that a look-back of 1 asks for
    yesterday only; one with bars starts after its last bar, and is skipped while the market has not traded since.

    Args:
        interval: The interval of the series, one of time.
        now: The present time, aware.
        last_open_ns: Open time of the last bar that is stored; None for a new series.
        lookback_days: How far a new series reaches back, at least 1.
        delay: How long after its close the provider has a bar.
        calendar: The market's sessions; None: always open.

    Raises:
        InvalidArgument: The look-back is below 1, `now` is naive, or the interval is not one of time.
    """
    if lookback_days < 1:
        raise violation("lookback_days", "at least 1", lookback_days)
    end_ns = interval.floor_ns(to_ns(now - delay, "now"))
    if last_open_ns is None:
        midnight_ns = -(-end_ns // NS_PER_DAY) * NS_PER_DAY
        start_ns = interval.floor_ns(midnight_ns - lookback_days * NS_PER_DAY)
        return TimeRange(start_ns, end_ns) if start_ns < end_ns else None
    start_ns = interval.next_boundary_ns(last_open_ns)
    if start_ns >= end_ns:
        return None
    span = TimeRange(start_ns, end_ns)
    if calendar is None or calendar.always_open:
        return span
    traded = calendar.sessions(start_ns, end_ns)
    if interval.is_dated:
        traded = traded.dated(span)
    return span if len(traded) else None


@lru_cache(maxsize=4096)
def _compile(cron: str, timezone: str) -> tuple[_Rule, ...]:
    fields = _MACROS.get(cron.strip().lower(), cron).lower().split()
    if len(fields) != 5:
        raise violation("cron", _RULE, cron)
    zone = _zone(timezone)
    minute, hour, day, month, weekday = fields
    month = _numbered(month, _MONTHS, 1)
    for text in (minute, hour, day, month):
        if not _NUMERIC.fullmatch(text):
            raise violation("cron", _RULE, cron)
    weekdays = _weekdays(weekday, cron)
    choices = [(day, weekdays)]
    if not day.startswith("*") and not weekday.startswith("*"):
        choices = [(day, "*"), ("*", weekdays)]
    once = not hour.startswith("*") and hour != "0-23"
    # APScheduler's trigger skips a midnight after some changes of clocks; on a wall clock there are none.
    counted = dt.UTC if once else zone
    hours = {"minute": minute, "hour": hour, "month": month, "timezone": counted, "end_date": _LAST_YEAR}
    try:
        rules = tuple(_Rule(CronTrigger(day=d, day_of_week=w, **hours), zone if once else None) for d, w in choices)
    except ValueError as error:
        raise violation("cron", f"{_RULE} ({error})", cron) from error
    if all(rule.next(dt.datetime(2000, 1, 1, tzinfo=dt.UTC)) is None for rule in rules):
        raise violation("cron", "an expression that matches some day", cron)
    return rules


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise violation("timezone", "an IANA time zone such as UTC or America/New_York", name) from error


def _numbered(text: str, names: tuple[str, ...], first: int) -> str:
    for number, name in enumerate(names, first):
        text = text.replace(name, str(number))
    return text


def _weekdays(text: str, cron: str) -> str:
    """Return the days as names, which mean the same to everyone; numbers do not."""
    days: set[int] = set()
    for part in text.split(","):
        match = _WEEKDAY_PART.fullmatch(part)
        if match is None:
            raise violation("cron", _RULE, cron)
        days |= _weekday_part(match, cron)
    return "*" if len(days) == 7 else ",".join(_DAYS[day] for day in sorted(days))


def _weekday_part(match: re.Match[str], cron: str) -> set[int]:
    step = int(match["step"] or 1)
    if match["first"] == "*":
        if match["last"]:
            raise violation("cron", _RULE, cron)
        return set(range(0, 7, step))
    first = _weekday(match["first"], cron)
    if match["last"] is None:
        return {day % 7 for day in range(first, 7 if match["step"] else first + 1, step)}
    last = _weekday(match["last"], cron)
    if last < first:  # Friday to Monday
        last += 7
    return {day % 7 for day in range(first, last + 1, step)}


def _weekday(text: str, cron: str) -> int:
    if text.isdigit():
        return int(text)
    if text not in _DAYS:
        raise violation("cron", _RULE, cron)
    return _DAYS.index(text)
