-- The floor that every service stands on: schemas, access tokens, long-running work, the event log, and time-partitioned storage.
--
-- Conventions of this and all later files: times are timestamptz; a range is half-open [start, end); states are text with a check;
-- exact money is numeric and market data is double precision; names are unqualified in the services, whose search path finds them.

create schema if not exists ops;
create schema registry;
create schema datahub;
create schema strategy;

comment on schema ops is 'Shared by all services: tokens, operations, events, storage';
comment on schema registry is 'What exists: code, assets, identities, mappings, indices, subscriptions';
comment on schema datahub is 'Market data: series, bars, ticks, coverage, collection';
comment on schema strategy is 'Decisions and money: instances, orders, fills, positions, policies, back-tests';

-- Anybody could put functions in front of the platform's own otherwise. PostgreSQL 15 and later create databases without this right.
revoke create on schema public from public;

-- Access tokens. Only the SHA-256 of a token is kept.
create table ops.tokens (
    id           uuid        not null default gen_random_uuid() primary key,
    name         text        not null check (length(name) between 1 and 100),
    hash         bytea       not null unique check (octet_length(hash) = 32),
    role         text        not null check (role in ('viewer', 'operator', 'admin')),
    created_at   timestamptz not null default now(),
    created_by   text        not null,
    expires_at   timestamptz,
    last_used_at timestamptz,
    revoked_at   timestamptz,
    revoked_by   text
);
create unique index tokens_name_in_force on ops.tokens (name) where revoked_at is null;
comment on column ops.tokens.hash is 'SHA-256 of the secret; the token itself is shown once, at its creation';

-- Work that outlives a request. A worker holds a lease; when it dies the lease runs out and another one resumes from the checkpoint.
create table ops.operations (
    id               uuid             not null default gen_random_uuid() primary key,
    service          text             not null,
    kind             text             not null,
    state            text             not null default 'PENDING'
                     check (state in ('PENDING', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED')),
    subject_type     text,
    subject_name     text,
    request          jsonb            not null default '{}',
    request_id       text             check (length(request_id) between 1 and 64),
    actor            text             not null,
    role             text,
    phase            text             not null default '',
    done             bigint           not null default 0,
    total            bigint,
    unit             text             not null default '',
    wait_s           double precision not null default 0,
    detail           jsonb            not null default '{}',
    checkpoint       jsonb            not null default '{}',
    result           jsonb,
    error            jsonb,
    cancel_requested boolean          not null default false,
    worker           text,
    lease_until      timestamptz,
    attempts         integer          not null default 0,
    created_at       timestamptz      not null default now(),
    started_at       timestamptz,
    updated_at       timestamptz      not null default now(),
    finished_at      timestamptz,
    check ((finished_at is not null) = (state in ('SUCCEEDED', 'FAILED', 'CANCELLED')))
);
create unique index operations_request on ops.operations (service, kind, request_id) where request_id is not null;
create index operations_claim on ops.operations (service, created_at) where state in ('PENDING', 'RUNNING');
create index operations_newest on ops.operations (service, created_at desc, id desc);
create index operations_subject on ops.operations (subject_type, subject_name, created_at desc);
comment on column ops.operations.request_id is 'Given by the caller: a second creation with the same service, kind and id returns the first operation';
comment on column ops.operations.wait_s is 'Seconds spent waiting for a rate limit so far';
comment on column ops.operations.detail is 'Further figures and facts, by name';
comment on column ops.operations.checkpoint is 'Where to resume after a restart; private to the kind of work';

-- What happened, append-only: services may insert and read, and nobody changes an event.
create table ops.events (
    id           bigint      not null generated always as identity primary key,
    time         timestamptz not null default now(),
    service      text        not null,
    kind         text        not null,
    severity     text        not null default 'INFO' check (severity in ('DEBUG', 'INFO', 'WARNING', 'ERROR')),
    subject_type text        not null default '',
    subject_name text        not null default '',
    message      text        not null default '',
    data         jsonb       not null default '{}',
    actor        text        not null default '',
    role         text        not null default '',
    request_id   text        not null default '',
    run_id       text,
    run_sequence bigint      check (run_sequence > 0),
    check ((run_id is null) = (run_sequence is null))
);
create unique index events_run on ops.events (run_id, run_sequence) where run_id is not null;
create index events_subject on ops.events (subject_type, subject_name, id);
create index events_kind on ops.events (kind, id);
create index events_time on ops.events (time);
comment on column ops.events.data is 'The facts, by name; a change carries the subject `before` and `after`';
comment on column ops.events.actor is 'Who did it; empty where the platform acted by itself';
comment on column ops.events.run_sequence is 'Counts the events of one run from 1 without a hole';

create function ops.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only', tg_table_name using errcode = 'insufficient_privilege';
end $$;
create trigger events_append_only before update on ops.events for each row execute function ops.refuse_change();

-- Which tables are partitioned by time, and how. Filled by the migration that creates such a table, through ops.register_storage.
create table ops.storage_tables (
    table_name     text        not null primary key,
    time_column    text        not null,
    step           text        not null check (step in ('hour', 'day', 'week', 'month', 'year')),
    coarse_before  timestamptz,
    segment_by     text        not null,
    order_by       text        not null,
    engine         text        not null default 'native' check (engine in ('native', 'hypertable')),
    retention      interval,
    compress_after interval,
    updated_at     timestamptz not null default now()
);
comment on column ops.storage_tables.table_name is 'With its schema, as in datahub.ticks';
comment on column ops.storage_tables.step is 'The time one partition covers';
comment on column ops.storage_tables.coarse_before is 'Before this time a partition covers a whole year: sparse old data would make hundreds of tiny tables otherwise';
comment on column ops.storage_tables.segment_by is 'Column that compressed rows are grouped by';
comment on column ops.storage_tables.order_by is 'Columns that compressed rows are ordered by';
comment on column ops.storage_tables.retention is 'How long rows are kept; null: for ever';
