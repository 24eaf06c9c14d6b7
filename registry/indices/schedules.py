"""When provider indices are synced."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from quasar.errors import FieldViolation, InvalidArgument
from quasar.schedule import Schedule

FREQUENCIES: Final = ("", "MANUAL", "DAILY", "WEEKLY", "MONTHLY", "CRON")
"""In the order of `quasar.registry.v1.SyncFrequency`."""
RETRY: Final = dt.timedelta(hours=1)
"""After a sync that failed the next one is due at the latest then."""
_CRONS: Final[Mapping[str, str]] = {"DAILY": "0 0 * * *", "WEEKLY": "0 0 * * 1", "MONTHLY": "0 0 1 * *"}
_PREFERENCES: Final[Mapping[str, str]] = {"1d": "DAILY", "1w": "WEEKLY", "1M": "MONTHLY"}


@dataclass(frozen=True, slots=True)
class SyncSchedule:
    """How often an index is synced."""

    frequency: str
    cron: str = ""
    time_zone: str = ""
    """Empty: UTC."""

    def checked(self) -> SyncSchedule:
        """Return the schedule.

        Raises:
            InvalidArgument: The frequency is none, or the cron expression or the time zone cannot be read.
        """
        if self.frequency not in FREQUENCIES[1:]:
            raise _violation("frequency", f"must be one of {', '.join(FREQUENCIES[1:])}, was not set")
        if (self.frequency == "CRON") != bool(self.cron.strip()):
            wanted = (
                "must be set when the frequency is CRON"
                if self.frequency == "CRON"
                else "must be empty unless the frequency is CRON"
            )
            raise _violation("cron", f"{wanted}, was {self.cron!r}")
        if self.frequency != "MANUAL":
            try:
                self._compiled()
            except InvalidArgument as error:
                raise _violation("cron" if "zone" not in error.message else "time_zone", error.message) from None
        return self

    def next_after(self, time: dt.datetime) -> dt.datetime | None:
        """Return when a sync is due after a time; None: never by itself."""
        return None if self.frequency == "MANUAL" else self._compiled().next_fire(time)

    def _compiled(self) -> Schedule:
        return Schedule(self.cron.strip() or _CRONS[self.frequency], self.time_zone or "UTC")


def preferred(preferences: Mapping[str, Any]) -> SyncSchedule:
    """Return the schedule that a provider's preferences ask for: weekly where they ask for none."""
    scheduling = preferences.get("scheduling")
    word = scheduling.get("sync_frequency") if isinstance(scheduling, dict) else None
    return SyncSchedule(_PREFERENCES.get(str(word), "WEEKLY"))


def next_sync(
    schedule: SyncSchedule, last: dt.datetime | None, created: dt.datetime, *, failed: bool
) -> dt.datetime | None:
    """Return when an index is to be synced next.

    Args:
        schedule: Its schedule.
        last: When the last sync ended; None: it was never synced, and is due since it came to be.
        created: When it came to be.
        failed: The last sync failed, so that it is tried again soon.
    """
    if schedule.frequency == "MANUAL":
        return None
    if last is None:
        return created
    due = schedule.next_after(last)
    return min(due, last + RETRY) if failed and due is not None else due


def _violation(name: str, description: str) -> InvalidArgument:
    field = f"index.sync_schedule.{name}"
    return InvalidArgument(f"{field} {description}.", violations=[FieldViolation(field, description)])
