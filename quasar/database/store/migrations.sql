-- name: bootstrap
-- The runner's own memory; it must exist before the first migration runs.
create schema if not exists ops;
create table if not exists ops.schema_migrations (
    version     integer     not null primary key,
    name        text        not null,
    checksum    text        not null,
    state       text        not null check (state in ('applied', 'skipped')),
    missing     text[]      not null default '{}',
    applied_at  timestamptz not null default now(),
    applied_by  text        not null default current_user,
    duration_ms double precision not null default 0
);
comment on table ops.schema_migrations is 'Which migrations this database has seen. A skipped one lacks a capability and is tried again at each start.';

-- name: exists
-- Whether the runner has ever been here.
select to_regclass('ops.schema_migrations') is not null;

-- name: recorded
-- What this database has seen.
select version, name, checksum, state, missing, applied_at, duration_ms from ops.schema_migrations order by version;

-- name: record
-- Remember the outcome of one migration.
insert into ops.schema_migrations as m (version, name, checksum, state, missing, duration_ms)
values ($1, $2, $3, $4, $5, $6)
on conflict (version) do update
set name = excluded.name, checksum = excluded.checksum, state = excluded.state, missing = excluded.missing,
    duration_ms = excluded.duration_ms, applied_at = now(), applied_by = current_user;

-- name: lock
-- One starter works, the others wait. The number is arbitrary and only has to be the same everywhere.
select pg_advisory_lock(7310455216);

-- name: unlock
-- Let the next starter look.
select pg_advisory_unlock(7310455216);

-- name: extensions
-- Which extensions this server could create or has created.
select name, coalesce(installed_version, default_version) as version from pg_available_extensions;

-- name: timescale_licence
-- `timescale` allows compression, policies and attach_chunk; `apache` does not. Null before the extension is created.
select nullif(current_setting('timescaledb.license', true), '');

-- name: timescale_loaded
-- A setting of TimescaleDB's loader: null where the server does not preload it, and then the extension cannot be created.
select current_setting('timescaledb.disable_load', true);
