"""What each service's role may do, and above all what it may not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import asyncpg
import pytest
import pytest_asyncio

from quasar.database.pool import Database
from quasar.database.roles import SERVICES, ensure_roles, service_url
from quasar.errors import DatabaseUnavailable
from quasar.secrets import SystemContext

Roles = dict[str, Database]

NEW_EVENT = "insert into ops.events (service, kind) values ('registry', 'Tested') returning id"
NEW_OPERATION = "insert into ops.operations (service, kind, actor) values ('registry', 'test', 'ann') returning id"


@pytest_asyncio.fixture(loop_scope="session")
async def roles(database_url: str, system_context: SystemContext) -> AsyncIterator[Roles]:
    """Yield the database as each service sees it, and as its owner."""
    async with AsyncExitStack() as stack:
        opened = {}
        for service in SERVICES:
            url = service_url(database_url, service, system_context)
            opened[service] = await stack.enter_async_context(
                await Database.open(url, application_name=f"quasar-{service}", max_size=2)
            )
        opened["owner"] = await stack.enter_async_context(await Database.open(database_url, application_name="owner"))
        yield opened


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_is_an_ordinary_role(roles: Roles, service: str) -> None:
    row = await roles[service].fetchrow(
        "select rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication, rolcanlogin from pg_roles "
        "where rolname = current_user"
    )
    assert tuple(row) == (False, False, False, False, False, True)


async def test_another_system_context_does_not_open_the_database(database_url: str) -> None:
    with pytest.raises(DatabaseUnavailable):
        await Database.open(service_url(database_url, "registry", SystemContext.generate()), application_name="tests")


@pytest.mark.parametrize(
    ("service", "table"),
    [("registry", "common_symbols"), ("datahub", "series"), ("strategy", "accounts"), ("strategy", "bars")],
)
async def test_a_service_finds_its_tables_without_naming_the_schema(roles: Roles, service: str, table: str) -> None:
    assert await roles[service].fetchval(f"select count(*) from {table}") == 0


@pytest.mark.parametrize(
    ("service", "statement"),
    [
        ("registry", "insert into datahub.series (provider, symbol, interval) values ('a', 'b', '1d')"),
        ("registry", "select * from datahub.series"),
        ("registry", "select * from strategy.orders"),
        ("datahub", "insert into registry.common_symbols (symbol) values ('X')"),
        ("datahub", "delete from registry.provider_subscription"),
        ("datahub", "select * from strategy.orders"),
        ("datahub", "select * from registry.code_secrets"),
        ("datahub", "select * from registry.trading_secrets"),
        ("strategy", "insert into datahub.historical_data (series_id) values (1)"),
        ("strategy", "delete from datahub.coverage"),
        ("strategy", "update registry.assets set name = 'x'"),
        ("strategy", "select * from registry.code_secrets"),
        ("strategy", "select * from registry.provider_secrets"),
        ("strategy", "select ops.ensure_partitions('datahub.ticks', now(), now() + interval '1 day')"),
        ("strategy", "select ops.drop_older_than('datahub.ticks', now())"),
        ("registry", "select ops.drop_older_than('datahub.ticks', now())"),
        ("datahub", "insert into ops.tokens (name, hash, role, created_by) values ('x', sha256('x'), 'admin', 'x')"),
        ("datahub", "update ops.tokens set role = 'admin'"),
        ("strategy", "update ops.tokens set revoked_at = null"),
        ("datahub", "update ops.storage_tables set retention = null"),
        ("datahub", "drop table datahub.ticks"),
        ("datahub", "create table datahub.mine (n int)"),
        ("registry", "create table public.mine (n int)"),
        ("registry", "create schema mine"),
        ("registry", "truncate ops.operations"),
    ],
)
async def test_a_service_is_refused_what_is_not_its_own(roles: Roles, service: str, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await roles[service].execute(statement)


@pytest.mark.parametrize("service", SERVICES)
async def test_every_service_records_events_and_nobody_changes_them(roles: Roles, service: str) -> None:
    event = await roles[service].fetchval(NEW_EVENT)
    for statement in ("update ops.events set message = 'x' where id = $1", "delete from ops.events where id = $1"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await roles[service].execute(statement, event)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="events is append-only"):
        await roles["owner"].execute("update ops.events set message = 'x' where id = $1", event)


@pytest.mark.parametrize("service", SERVICES)
async def test_every_service_runs_operations_and_none_removes_one(roles: Roles, service: str) -> None:
    operation = await roles[service].fetchval(NEW_OPERATION)
    await roles[service].execute("update ops.operations set state = 'RUNNING', done = 5 where id = $1", operation)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await roles[service].execute("delete from ops.operations where id = $1", operation)


async def test_the_registry_keeps_tokens_and_the_others_only_mark_their_use(roles: Roles) -> None:
    token = await roles["registry"].fetchval(
        "insert into ops.tokens (name, hash, role, created_by) values ('ann', sha256('x'), 'viewer', 'test') "
        "returning id"
    )
    for service in SERVICES:
        await roles[service].execute("update ops.tokens set last_used_at = now() where id = $1", token)
        assert await roles[service].fetchval("select name from ops.tokens where id = $1", token) == "ann"


async def test_each_service_sees_the_secrets_of_its_own_kinds_only(roles: Roles) -> None:
    for kind in ("provider", "broker", "strategy"):
        code = await roles["registry"].fetchval(
            "insert into code_registry (kind, name) values ($1, $1) returning code_id", kind
        )
        await roles["registry"].execute(
            "insert into code_secrets (code_id, version, sealed, names) values ($1, 1, 'x', '{token}')", code
        )
    assert await roles["datahub"].fetchval("select array_agg(kind) from registry.provider_secrets") == ["provider"]
    seen = await roles["strategy"].fetchval("select array_agg(kind order by kind) from registry.trading_secrets")
    assert seen == ["broker", "strategy"]


async def test_the_datahub_reads_the_registry(roles: Roles) -> None:
    for table in ("assets", "provider_subscription", "subscription_symbols", "code_versions", "asset_mapping"):
        assert await roles["datahub"].fetchval(f"select count(*) from {table}") == 0


async def test_tables_of_later_migrations_come_with_the_same_rights(roles: Roles) -> None:
    await roles["owner"].execute("create table datahub.later (id int generated always as identity, n int)")
    await roles["datahub"].execute("insert into later (n) values (1)")
    assert await roles["strategy"].fetchval("select n from later") == 1
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await roles["strategy"].execute("insert into datahub.later (n) values (2)")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await roles["registry"].fetch("select * from datahub.later")


async def test_rights_that_somebody_took_away_are_given_back(roles: Roles, system_context: SystemContext) -> None:
    await roles["owner"].execute("revoke all on registry.assets from quasar_registry")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await roles["registry"].fetch("select * from assets")
    async with roles["owner"].acquire() as connection:
        await ensure_roles(connection, system_context)
    assert await roles["registry"].fetch("select * from assets") == []


async def test_no_password_is_sent_to_the_server(roles: Roles) -> None:
    stored = await roles["owner"].fetchval("select rolpassword from pg_authid where rolname = 'quasar_registry'")
    assert stored.startswith("SCRAM-SHA-256$4096:")
