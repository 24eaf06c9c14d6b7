"""Migrations on a real server: from nothing, from every earlier version, by several starters, and what is refused."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from quasar.database.migrations import (
    Migration,
    MigrationError,
    load_migrations,
    migrate,
    migration_status,
)
from quasar.database.pool import Database
from quasar.database.schema import prepare_schema
from quasar.errors import DatabaseUnavailable
from quasar.secrets import SystemContext
from quasar.testing.database import TestDatabaseServer

PLATFORM = load_migrations()

SHAPE = """
select 'column', table_schema || '.' || table_name, column_name || ' ' || data_type || ' ' || is_nullable || ' '
       || coalesce(column_default, '')
from information_schema.columns where table_schema in ('ops', 'registry', 'datahub', 'strategy')
union all
select 'index', schemaname || '.' || tablename, indexdef from pg_indexes
where schemaname in ('ops', 'registry', 'datahub', 'strategy')
union all
select 'constraint', conrelid::regclass::text, conname || ' ' || pg_get_constraintdef(oid) from pg_constraint
where connamespace::regnamespace::text in ('ops', 'registry', 'datahub', 'strategy')
union all
select 'function', pronamespace::regnamespace::text, proname || ' ' || md5(prosrc) from pg_proc
where pronamespace::regnamespace::text in ('ops', 'registry', 'datahub', 'strategy')
order by 1, 2, 3
"""


def step(version: int, sql: str, *requires: str) -> Migration:
    return Migration(version, f"step{version}", sql, f"checksum of {sql}", frozenset(requires))


async def shape(url: str) -> list[tuple[str, ...]]:
    """Return everything that makes up the schema of a database, except the order in which columns were added."""
    async with await Database.open(url, application_name="tests") as database:
        return [tuple(row.values()) for row in await database.fetch(SHAPE)]


async def test_an_empty_database_gets_everything_once(empty_database_url: str) -> None:
    first = await migrate(empty_database_url)
    assert [*first.applied, *first.skipped] == [m.label for m in PLATFORM]
    assert first.version == max(m.version for m in PLATFORM if m.label in first.applied)
    again = await migrate(empty_database_url)
    assert again.applied == ()
    assert again.version == first.version


@pytest.mark.parametrize("count", range(1, len(PLATFORM)))
async def test_every_earlier_version_becomes_the_same_database(
    database_server: TestDatabaseServer, database_url: str, count: int
) -> None:
    name = await database_server.create()
    try:
        url = database_server.url_of(name)
        await migrate(url, migrations=PLATFORM[:count])
        report = await migrate(url)
        assert set(report.applied) | set(report.skipped) == {m.label for m in PLATFORM[count:]}
        if not await _timescale(database_url):
            assert await shape(url) == await shape(database_url)
    finally:
        await database_server.drop(name)


async def _timescale(url: str) -> bool:
    async with await Database.open(url, application_name="tests") as database:
        return bool(await database.fetchval("select exists (select from pg_extension where extname = 'timescaledb')"))


async def test_of_several_starters_one_applies_and_the_others_wait(
    empty_database_url: str, system_context: SystemContext
) -> None:
    reports = await asyncio.gather(*(prepare_schema(empty_database_url, system_context) for _ in range(4)))
    assert sorted(len(report.applied) for report in reports)[:3] == [0, 0, 0]
    assert max(len(report.applied) for report in reports) >= len(PLATFORM) - 1
    assert len({report.version for report in reports}) == 1


async def test_a_file_that_was_changed_after_it_had_been_applied_is_refused(empty_database_url: str) -> None:
    original = [step(1, "create table a (n int)"), step(2, "create table b (n int)")]
    await migrate(empty_database_url, migrations=original)
    changed = [replace(original[0], checksum="another"), original[1]]
    with pytest.raises(MigrationError, match=r"0001_step1 was changed after .* make the change in a new migration"):
        await migrate(empty_database_url, migrations=changed)
    status = await migration_status(empty_database_url, migrations=changed)
    assert status[0].detail == "the file was changed after it had been applied"


async def test_a_database_of_a_newer_build_is_refused(empty_database_url: str) -> None:
    newer = [step(1, "select 1"), step(2, "select 1")]
    await migrate(empty_database_url, migrations=newer)
    with pytest.raises(MigrationError, match=r"has the migration 0002_step2, which .* install that or a later one"):
        await migrate(empty_database_url, migrations=newer[:1])
    assert [s.detail for s in await migration_status(empty_database_url, migrations=newer[:1])][1] == (
        "written by a newer build of Quasar"
    )


async def test_a_file_that_fails_leaves_nothing_and_keeps_what_was_before(empty_database_url: str) -> None:
    files = [step(1, "create table a (n int)"), step(2, "create table b (n int); create table a (n int)")]
    with pytest.raises(MigrationError, match=r'0002_step2 failed and was undone: relation "a" already exists'):
        await migrate(empty_database_url, migrations=files)
    states = [s.state for s in await migration_status(empty_database_url, migrations=files)]
    assert states == ["applied", "pending"]
    repaired = [files[0], step(2, "create table b (n int)")]
    assert (await migrate(empty_database_url, migrations=repaired)).applied == ("0002_step2",)


async def test_a_file_waits_for_its_capability_and_is_tried_again(empty_database_url: str) -> None:
    waiting = [step(1, "select 1"), step(2, "create table b (n int)", "no_such_extension"), step(3, "select 3")]
    report = await migrate(empty_database_url, migrations=waiting)
    assert (report.applied, report.skipped) == (("0001_step1", "0003_step3"), ("0002_step2",))
    status = await migration_status(empty_database_url, migrations=waiting)
    assert (status[1].state, status[1].missing) == ("skipped", ("no_such_extension",))
    arrived = [waiting[0], replace(waiting[1], requires=frozenset({"plpgsql"})), waiting[2]]
    assert (await migrate(empty_database_url, migrations=arrived)).applied == ("0002_step2",)


async def test_a_file_that_waits_may_still_be_changed(empty_database_url: str) -> None:
    await migrate(empty_database_url, migrations=[step(1, "select 1", "no_such_extension")])
    changed = [step(1, "create table a (n int)", "plpgsql")]
    assert (await migrate(empty_database_url, migrations=changed)).applied == ("0001_step1",)


async def test_functions_with_semicolons_inside_need_no_care(empty_database_url: str) -> None:
    body = "create function f() returns int language plpgsql as $$ begin perform 1; return 2; end $$; select f();"
    await migrate(empty_database_url, migrations=[step(1, body)])


async def test_the_status_of_a_database_that_was_never_migrated_is_all_pending(empty_database_url: str) -> None:
    assert {s.state for s in await migration_status(empty_database_url)} == {"pending"}


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(DatabaseUnavailable):
        await migrate("postgresql://quasar:x@127.0.0.1:1/quasar")
