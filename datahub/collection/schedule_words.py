"""Schedules in words: `every Monday at 06:00 UTC`."""

from __future__ import annotations

import calendar
import re

from quasar.schedule import Schedule

_MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_DAYS = ("Sunday", *calendar.day_name)
_NAMES = {day[:3].lower(): number for number, day in enumerate(_DAYS[:7])}
_STEP = re.compile(r"\*/([1-9][0-9]?)")


def in_words(schedule: Schedule) -> str:
    """Return when a schedule is due, for people; what has no simple words is told as the cron expression."""
    cron = " ".join(_MACROS.get(schedule.cron.strip().lower(), schedule.cron).split())
    text = _words(*cron.lower().split()) or f'when "{cron}" matches'
    fixed = not text.startswith(("every minute", "every hour")) and "minutes" not in text and "hours" not in text
    if fixed or schedule.timezone != "UTC":
        text += f" {schedule.timezone}"
    return text + _offset(schedule.offset.total_seconds())


def _words(minute: str, hour: str, day: str, month: str, weekday: str) -> str:
    """Return the words of five fields; empty where there are none."""
    any_day = (day, month, weekday) == ("*", "*", "*")
    if hour == "*" and any_day:
        return _within_the_hour(minute)
    if not minute.isdecimal():
        return ""
    step = _STEP.fullmatch(hour)
    if step and any_day:
        past = f", {int(minute)} minutes past" if int(minute) else ""
        return f"every {step[1]} hours{past}"
    if not hour.isdecimal():
        return ""
    days = _days(day, month, weekday)
    return f"{days} at {int(hour):02d}:{int(minute):02d}" if days else ""


def _within_the_hour(minute: str) -> str:
    if minute in ("*", "*/1"):
        return "every minute"
    if step := _STEP.fullmatch(minute):
        return f"every {step[1]} minutes"
    if not minute.isdecimal():
        return ""
    return f"every hour, {int(minute)} minutes past" if int(minute) else "every hour"


def _days(day: str, month: str, weekday: str) -> str:
    if (day, month, weekday) == ("*", "*", "*"):
        return "every day"
    if (day, month) == ("*", "*"):
        return _weekdays(weekday)
    if weekday != "*" or not day.isdecimal():
        return ""
    if month == "*":
        return f"on day {int(day)} of every month"
    return f"every year on {int(day)} {calendar.month_name[int(month)]}" if month.isdecimal() else ""


def _weekdays(field: str) -> str:
    parts = []
    for part in field.split(","):
        names = [_weekday(each) for each in part.split("-")]
        if not all(names) or len(names) > 2:
            return ""
        parts.append(" to ".join(names))
    return f"every {', '.join(parts)}"


def _weekday(text: str) -> str:
    number = int(text) if text.isdecimal() else _NAMES.get(text, -1)
    return _DAYS[number] if 0 <= number < len(_DAYS) else ""


def _offset(seconds: float) -> str:
    if not seconds:
        return ""
    return f", {abs(seconds):g} seconds {'later' if seconds > 0 else 'earlier'}"
