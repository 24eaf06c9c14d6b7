"""What becomes of old rows follows the settings, on both storage back ends."""

from __future__ import annotations

import datetime as dt

from datahub.collection.upkeep import TABLES, TICKS, Upkeep
from datahub.ingest.room import Room
from quasar.config import DATAHUB, Settings, StoragePolicies
from quasar.testing.clock import FakeClock
from tests.contract.storage.test_storage import BARS, DAY, INSERT_BAR, INSERT_TICK, JANUARY, Subject, subject

__all__ = ["subject"]

JOBS = """
select format('%I.%I', hypertable_schema, hypertable_name) as "table", proc_name, config
from timescaledb_information.jobs
where hypertable_schema = 'datahub' and proc_name in ('policy_retention', 'policy_compression') order by 1, 2
"""


def settings(**variables: str) -> StoragePolicies:
    return Settings.read(DATAHUB, {f"QUASAR_{name}": value for name, value in variables.items()}).storage


async def told(subject: Subject) -> dict[str, tuple[dt.timedelta | None, dt.timedelta | None]]:
    found = {table: await subject.storage.policies(table) for table in TABLES}
    return {table: (each.retention, each.compress_after) for table, each in found.items()}


async def test_the_settings_say_what_is_dropped_and_compressed_and_when(subject: Subject) -> None:
    clock = FakeClock(JANUARY + 400 * DAY)
    room = Room(subject.database)
    wanted = settings(BARS_KEPT_DAYS="3650", TICKS_KEPT_DAYS="30", COMPRESS_AFTER_DAYS="60")
    for _ in range(2):
        await Upkeep(room, wanted, clock).once()
        assert await told(subject) == {table: ((30 if table == TICKS else 3650) * DAY, 60 * DAY) for table in TABLES}
    if not subject.native:
        jobs = {(row["table"], row["proc_name"]) for row in await subject.database.fetch(JOBS)}
        assert jobs == {(table, job) for table in TABLES for job in ("policy_retention", "policy_compression")}
    # What the settings leave open stays; 0 takes it back.
    await Upkeep(room, settings(TICKS_KEPT_DAYS="0"), clock).once()
    assert (await told(subject))[TICKS] == (None, 60 * DAY)
    assert (await told(subject))[BARS] == (3650 * DAY, 60 * DAY)


async def test_what_is_older_than_the_settings_say_is_dropped(subject: Subject) -> None:
    await subject.storage.ensure(BARS, JANUARY, JANUARY + 90 * DAY)
    await subject.storage.ensure(TICKS, JANUARY, JANUARY + 2 * DAY)
    for number in (0, 80):
        await subject.database.execute(INSERT_BAR, JANUARY + number * DAY)
    await subject.database.execute(INSERT_TICK, JANUARY, 1)
    room, clock = Room(subject.database), FakeClock(JANUARY + 90 * DAY)
    await Upkeep(room, settings(BARS_KEPT_DAYS="45"), clock).once()
    if subject.native:
        assert await subject.database.fetchval("select min(open_time) from historical_data") == JANUARY + 80 * DAY
    else:
        # The database's own job does it, by its own clock.
        (job,) = [row for row in await subject.database.fetch(JOBS) if row["table"] == BARS]
        assert "45 days" in str(job["config"])
    assert await subject.database.fetchval("select count(*) from ticks") == 1
