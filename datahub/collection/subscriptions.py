"""What the registry's subscriptions want, taken over into series and jobs of the DataHub."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datahub.providers.entry import ProviderEntry
from datahub.series.series import SeriesName
from datahub.store import series_table
from datahub.store.statements import SQL
from quasar import logs
from quasar.clock import Clock
from quasar.database.pool import Database
from quasar.errors import InvalidArgument
from quasar.model.intervals import Interval
from quasar.model.ticks import TickKind
from quasar.schedule import Schedule

MISFIRE_S = 300
"""A firing that is later than this is a catch-up."""

_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class JobKey:
    """What makes a job of collection: one provider, interval and cron expression."""

    provider: str
    interval: str
    cron: str
    time_zone: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the subscriptions want of one series."""

    name: SeriesName
    historical: bool
    live: bool
    store_ticks: bool
    tick_kinds: tuple[str, ...]
    """Kinds of ticks that its live feed is asked for: words of `TickKind`, in their order."""
    active: bool
    backfill_start: dt.datetime | None
    job: JobKey | None
    """The job that collects its history; None: none does."""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """How much there is after a refresh."""

    series_count: int
    job_count: int
    dropped: tuple[int, ...] = ()
    """Series that nothing selects any more."""


class Subscriptions:
    """Takes over what the registry has; any replica may do so at any time, and doing it for no reason is harmless."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Read and write `database`."""
        self._database = database
        self._clock = clock

    async def refresh(self, providers: Mapping[str, ProviderEntry], provider: str = "") -> Refreshed:
        """Take over the subscriptions of one provider, or of all.

        Args:
            providers: The active ones, for delays and what they serve.
            provider: Only this one; empty: all.
        """
        now = self._clock.now()
        async with self._database.transaction() as connection:
            await connection.execute(SQL["lock_refresh"])
            rows = await connection.fetch(SQL["selected_series"], provider)
            wanted = [each for row in rows if (each := _wanted(row, providers, now)) is not None]
            await _put_jobs(connection, wanted, providers, now)
            await connection.execute(SQL["index_jobs_put"], provider, now)
            await connection.execute(SQL["index_jobs_drop"], provider, now)
            jobs = await _jobs(connection, provider)
            dropped = await _put_series(connection, wanted, jobs, provider, providers, now)
            idle = set(jobs.values()) - {jobs.get(each.job) for each in wanted if each.job}
            if idle:
                await connection.execute(SQL["jobs_remove"], list(idle))
            if dropped:
                await connection.execute(SQL["runs_cancel_of_series"], list(dropped), now)
            figures = await connection.fetchrow(SQL["subscribed_count"])
        return Refreshed(figures["series"], figures["jobs"], tuple(dropped))


def schedule_of(cron: str, time_zone: str, offset_s: int) -> Schedule:
    """Return when a job fires."""
    return Schedule(cron, time_zone or "UTC", dt.timedelta(seconds=offset_s))


def _wanted(row: Any, providers: Mapping[str, ProviderEntry], now: dt.datetime) -> Wanted | None:
    """Return what is wanted of a series; None when its interval cannot be read."""
    try:
        interval = Interval.parse(row["interval"]) if row["interval"] else None
        name = SeriesName(row["provider"], row["symbol"], interval.code if interval else "")
        job = _job(row, interval, providers) if row["collects"] else None
    except InvalidArgument as error:
        _log.warning("subscription left out", provider=row["provider"], symbol=row["symbol"], problem=error.message)
        return None
    return Wanted(
        name,
        row["historical"],
        row["live"],
        row["store_ticks"],
        TickKind.in_order((row["tick_kinds"] or "").split(",")),  # the lists of several subscriptions, joined
        row["active"],
        _backfill_start(row, providers.get(row["provider"]), now),
        job,
    )


def _backfill_start(row: Any, entry: ProviderEntry | None, now: dt.datetime) -> dt.datetime | None:
    """Return the earliest start that subscriptions ask for; None: all of them go by the provider's preference."""
    start: dt.datetime | None = row["backfill_start"]
    if start is None or not row["as_preferred"]:
        return start
    if entry is None:
        return None
    # By the day: a start that moves with every look would be another one each time.
    preferred = (now - dt.timedelta(days=entry.lookback_days)).replace(hour=0, minute=0, second=0, microsecond=0)
    return min(start, preferred)


def _job(row: Any, interval: Interval | None, providers: Mapping[str, ProviderEntry]) -> JobKey | None:
    entry = providers.get(row["provider"])
    if interval is None or (entry is not None and not entry.serves(interval.code)):
        return None
    cron, zone = row["cron"], row["time_zone"]
    if not cron:
        cron, zone = interval.cron, "UTC"
    if cron is None:
        return None
    Schedule(cron, zone)
    return JobKey(row["provider"], interval.code, cron, zone)


async def _put_jobs(
    connection: Any, wanted: Sequence[Wanted], providers: Mapping[str, ProviderEntry], now: dt.datetime
) -> None:
    keys = sorted({each.job for each in wanted if each.job}, key=lambda key: (key.provider, key.interval, key.cron))
    if not keys:
        return
    await connection.execute(
        SQL["jobs_put"],
        "BARS",
        [key.provider for key in keys],
        [key.interval for key in keys],
        ["" for _ in keys],
        [key.cron for key in keys],
        [key.time_zone for key in keys],
        [_offset_s(providers.get(key.provider)) for key in keys],
        [{} for _ in keys],
        now,
    )


def _offset_s(entry: ProviderEntry | None) -> int:
    return round(entry.delay.total_seconds()) if entry is not None else 0


async def _jobs(connection: Any, provider: str) -> dict[JobKey, int]:
    rows = await connection.fetch(SQL["jobs_of_kind"], "BARS", provider)
    return {JobKey(r["provider"], r["interval"], r["cron"], r["time_zone"]): r["job_id"] for r in rows}


async def _put_series(
    connection: Any,
    wanted: Sequence[Wanted],
    jobs: Mapping[JobKey, int],
    provider: str,
    providers: Mapping[str, ProviderEntry],
    now: dt.datetime,
) -> list[int]:
    calendars = {name: entry.manifest.default_calendar for name, entry in providers.items()}
    series = await series_table.ensure(connection, [each.name for each in wanted], calendars)
    ids = [series[each.name].series_id for each in wanted]
    await connection.execute(
        SQL["subscribed_put"],
        ids,
        [jobs.get(each.job) if each.job else None for each in wanted],
        [each.historical for each in wanted],
        [each.live for each in wanted],
        [each.store_ticks for each in wanted],
        [",".join(each.tick_kinds) for each in wanted],
        [each.active for each in wanted],
        [each.backfill_start for each in wanted],
        now,
    )
    rows = await connection.fetch(SQL["subscribed_drop"], ids, provider)
    return [row["series_id"] for row in rows]
