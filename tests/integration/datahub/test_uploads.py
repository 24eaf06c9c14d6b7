"""Uploads go in portions that a statement has time for, whatever their size."""

from __future__ import annotations

import datetime as dt

from datahub.reads.uploads import KEPT, Uploads
from quasar.database.pool import Database
from quasar.testing.clock import FakeClock

NOW = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)
PARTS = 150
COUNT_DELETED = """
create table public.deletions (rows bigint);
create function public.note_deleted() returns trigger language plpgsql as $$
begin
    insert into public.deletions select count(*) from gone;
    return null;
end $$;
create trigger noted after delete on datahub.upload_parts
    referencing old table as gone for each statement execute function public.note_deleted();
"""


async def filled(uploads: Uploads, name: str) -> str:
    upload = await uploads.create(name, PARTS, "", "")
    for offset in range(PARTS):
        await uploads.append(str(upload.upload_id), offset, b"x")
    return str(upload.upload_id)


async def test_an_upload_is_removed_in_portions_and_no_other_is_touched(database: Database) -> None:
    uploads = Uploads(database, FakeClock(NOW))
    one, other = await filled(uploads, "one"), await filled(uploads, "other")
    await database.execute(COUNT_DELETED)
    await uploads.remove(one)
    most, total = await database.fetchrow("select max(rows), sum(rows) from deletions")
    assert (most <= 64, total) == (True, PARTS)
    assert [str(row["upload_id"]) for row in await database.fetch("select upload_id from uploads")] == [other]
    assert await database.fetchval("select count(*) from upload_parts") == PARTS
    await uploads.remove(one)


async def test_what_has_expired_goes_in_portions_when_the_next_one_comes(database: Database) -> None:
    clock = FakeClock(NOW)
    uploads = Uploads(database, clock)
    await filled(uploads, "old")
    await clock.advance(KEPT.total_seconds() + 1)
    await database.execute(COUNT_DELETED)
    fresh = await uploads.create("new", 1, "", "")
    most, total = await database.fetchrow("select max(rows), sum(rows) from deletions")
    assert (most <= 64, total) == (True, PARTS)
    assert [row["upload_id"] for row in await database.fetch("select upload_id from uploads")] == [fresh.upload_id]
