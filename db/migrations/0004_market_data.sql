-- Market data. Facts are keyed by a small integer and have no foreign keys: a series row is created no later than its first fact, in the
-- same transaction, and is never deleted. Tables of facts are partitioned by time (see 0002).

create table datahub.series (
    series_id     integer     not null generated always as identity primary key,
    provider      text        not null check (length(provider) between 1 and 100),
    symbol        text        not null check (length(symbol) between 1 and 200),
    interval      text        not null check (length(interval) <= 32),
    calendar      text        not null default '',
    derived_from  integer     references datahub.series,
    attributes    jsonb       not null default '{}',
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now(),
    unique (provider, symbol, interval)
);
create index series_symbol on datahub.series (symbol, provider, interval);
comment on table datahub.series is 'One provider''s symbol at one interval';
comment on column datahub.series.interval is 'Canonical form, as in 1min; empty: ticks';
comment on column datahub.series.derived_from is 'The finer series or the ticks that these bars are computed from';

-- Bars. A null means that the source has no such figure. `known_at` is since when the platform has known this version of the bar;
-- `revision` counts its changes; `origin` is the number of BarOrigin in the contract.
create table datahub.historical_data (
    series_id        integer          not null,
    open_time        timestamptz      not null,
    close_time       timestamptz      not null,
    open             double precision not null,
    high             double precision not null,
    low              double precision not null,
    close            double precision not null,
    volume           double precision,
    known_at         timestamptz      not null default now(),
    source_series_id integer          not null default 0,
    revision         integer          not null default 0,
    origin           smallint         not null default 1,
    trade_count      bigint,
    vwap             double precision,
    quote_volume     double precision,
    adjusted_close   double precision,
    dividend         double precision,
    split_factor     double precision,
    open_interest    double precision,
    primary key (series_id, open_time)
) partition by range (open_time);
comment on table datahub.historical_data is 'Bars fetched as history';
comment on column datahub.historical_data.source_series_id is 'The series that a repaired bar was borrowed from; 0: its own';

create table datahub.live_data (
    series_id        integer          not null,
    open_time        timestamptz      not null,
    close_time       timestamptz      not null,
    open             double precision not null,
    high             double precision not null,
    low              double precision not null,
    close            double precision not null,
    volume           double precision,
    known_at         timestamptz      not null default now(),
    source_series_id integer          not null default 0,
    revision         integer          not null default 0,
    origin           smallint         not null default 3,
    trade_count      bigint,
    vwap             double precision,
    quote_volume     double precision,
    adjusted_close   double precision,
    dividend         double precision,
    split_factor     double precision,
    open_interest    double precision,
    primary key (series_id, open_time, origin)
) partition by range (open_time);
comment on table datahub.live_data is 'Closed bars of live feeds: those that providers push (origin 2) beside those built from ticks (origin 3)';

-- What a bar was before it changed.
create table datahub.bar_revisions (
    series_id        integer          not null,
    open_time        timestamptz      not null,
    close_time       timestamptz      not null,
    open             double precision not null,
    high             double precision not null,
    low              double precision not null,
    close            double precision not null,
    volume           double precision,
    known_from       timestamptz      not null,
    known_until      timestamptz      not null,
    run_id           bigint,
    source_series_id integer          not null default 0,
    revision         integer          not null,
    origin           smallint         not null,
    live             boolean          not null,
    trade_count      bigint,
    vwap             double precision,
    quote_volume     double precision,
    adjusted_close   double precision,
    dividend         double precision,
    split_factor     double precision,
    open_interest    double precision,
    cause            text             not null default '',
    primary key (series_id, open_time, live, origin, revision)
) partition by range (open_time);
comment on column datahub.bar_revisions.live is 'Whether the bar stood in live_data';
comment on column datahub.bar_revisions.known_until is 'When the next version became known: as-of reads take the version with known_from <= t < known_until';

-- Ticks. A tick has no natural key, so duplicates are kept out by whoever writes, with `sequence`, which counts the ticks of a series.
create table datahub.ticks (
    series_id      integer          not null,
    event_ns       smallint         not null default 0,
    receive_ns     smallint         not null default 0,
    event_time     timestamptz      not null,
    receive_time   timestamptz      not null,
    sequence       bigint           not null,
    kind           smallint         not null default 1,
    side           smallint         not null default 0,
    flags          smallint         not null default 0,
    publish_ns     smallint         not null default 0,
    publish_time   timestamptz,
    price          double precision,
    size           double precision,
    bid_price      double precision,
    bid_size       double precision,
    ask_price      double precision,
    ask_size       double precision,
    venue_sequence bigint,
    trade_id       bigint,
    trade_id_text  text
) partition by range (event_time);
create index ticks_series_time on datahub.ticks (series_id, event_time);
comment on column datahub.ticks.event_ns is 'Nanoseconds 0 to 999 beyond the microsecond of event_time';
comment on column datahub.ticks.kind is 'TickKind in the contract: 1 trade, 2 quote, 3 top of book';
comment on column datahub.ticks.side is 'Which side took liquidity: 1 buy, 2 sell, 0 not known';
comment on column datahub.ticks.flags is 'Sum of TickFlag in the contract';

select ops.register_storage('datahub.historical_data', 'open_time', 'month', 'series_id', 'open_time', '2000-01-01 00:00:00+00');
select ops.register_storage('datahub.live_data', 'open_time', 'month', 'series_id', 'open_time, origin');
select ops.register_storage('datahub.bar_revisions', 'open_time', 'month', 'series_id', 'open_time, live, origin, revision', '2000-01-01 00:00:00+00');
select ops.register_storage('datahub.ticks', 'event_time', 'day', 'series_id', 'event_time, sequence');

-- The newest bar of each series, so that prices of thousands of series are one short read.
create table datahub.bar_last (
    series_id      integer          not null primary key references datahub.series,
    open_time      timestamptz      not null,
    close_time     timestamptz      not null,
    open           double precision not null,
    high           double precision not null,
    low            double precision not null,
    close          double precision not null,
    volume         double precision,
    origin         smallint         not null,
    known_at       timestamptz      not null,
    previous_close double precision
) with (fillfactor = 70);

-- The one read path: historical and live bars by series. The historical bar wins, and of live ones the provider's before the one built
-- from ticks, so no open time comes twice.
create view datahub.bars as
    select series_id, open_time, close_time, open, high, low, close, volume, known_at, source_series_id, revision, origin,
           trade_count, vwap, quote_volume, adjusted_close, dividend, split_factor, open_interest, false as live
    from datahub.historical_data
    union all
    select l.series_id, l.open_time, l.close_time, l.open, l.high, l.low, l.close, l.volume, l.known_at, l.source_series_id, l.revision, l.origin,
           l.trade_count, l.vwap, l.quote_volume, l.adjusted_close, l.dividend, l.split_factor, l.open_interest, true
    from datahub.live_data l
    where not exists (select from datahub.historical_data h where h.series_id = l.series_id and h.open_time = l.open_time)
      and not exists (select from datahub.live_data p where p.series_id = l.series_id and p.open_time = l.open_time and p.origin < l.origin);

comment on view datahub.bars is 'Bars of both tables without duplicates. Order by open_time, or read one series at a time: over compressed chunks TimescaleDB 2.29 fails to order a union by series_id, open_time (invalid array position)';

-- The ledger: for every expected slot of a series what is known about it. Neighbouring slots of one state are one row, and rows of a
-- series never overlap.
create table datahub.coverage (
    series_id        integer     not null references datahub.series,
    start_time       timestamptz not null,
    end_time         timestamptz not null,
    state            smallint    not null check (state between 1 and 7),
    slots            integer     not null check (slots > 0),
    source_series_id integer     not null default 0,
    gap_id           bigint,
    updated_at       timestamptz not null default now(),
    primary key (series_id, start_time),
    check (start_time < end_time)
);
create index coverage_missing on datahub.coverage (series_id, start_time) where state in (5, 7);
comment on column datahub.coverage.state is 'SlotState: 1 OBSERVED, 2 NO_TRADE, 3 CLOSED, 4 EMPTY, 5 GAP, 6 REPAIRED, 7 UNREPAIRABLE';

-- Up to where the ledger of a series is classified, and the newest fact that is stored.
create table datahub.series_progress (
    series_id        integer     not null primary key references datahub.series,
    classified_until timestamptz,
    watermark        timestamptz,
    last_sequence    bigint      not null default 0,
    rows             bigint      not null default 0,
    updated_at       timestamptz not null default now()
) with (fillfactor = 70);
comment on column datahub.series_progress.watermark is 'Close time of the newest stored bar, or event time of the newest stored tick: where collection goes on';
comment on column datahub.series_progress.last_sequence is 'Sequence of the last stored tick';

-- Holes in the data and what is done about them.
create table datahub.gaps (
    gap_id          bigint      not null generated always as identity primary key,
    series_id       integer     not null references datahub.series,
    start_time      timestamptz not null,
    start_ns        smallint    not null default 0,
    end_time        timestamptz,
    end_ns          smallint    not null default 0,
    missing_slots   bigint      not null default 0,
    state           text        not null default 'OPEN' check (state in ('OPEN', 'REPAIRING', 'REPAIRED', 'UNREPAIRABLE')),
    cause           text        not null default ''
                    check (cause in ('', 'FEED_INTERRUPTED', 'SEQUENCE_BROKEN', 'INCOMPLETE_ANSWER', 'RUN_FAILED', 'NOT_COLLECTED',
                                     'QUARANTINED', 'OVERLOAD', 'PROVIDER_PAUSED')),
    evidence        jsonb       not null default '[]',
    attempts        integer     not null default 0,
    next_attempt_at timestamptz,
    repaired_from   text        not null default '',
    run_id          bigint,
    detected_at     timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    check (end_time is null or start_time <= end_time)
);
create index gaps_series on datahub.gaps (series_id, start_time);
create index gaps_due on datahub.gaps (next_attempt_at) where state in ('OPEN', 'UNREPAIRABLE');
create index gaps_open on datahub.gaps (state, gap_id) where state <> 'REPAIRED';
comment on column datahub.gaps.end_time is 'Null while the hole still grows';
comment on column datahub.gaps.evidence is 'Who was asked, when, and what they answered';

-- What is collected on a schedule: a provider's symbols at one interval, the sync of an index, repair, upkeep.
create table datahub.collection_jobs (
    job_id         bigint      not null generated always as identity primary key,
    kind           text        not null check (kind in ('BARS', 'INDEX_SYNC', 'REPAIR', 'MAINTENANCE')),
    provider       text        not null default '',
    interval       text        not null default '',
    index_name     text        not null default '',
    cron           text        not null default '',
    time_zone      text        not null default 'UTC',
    offset_s       integer     not null default 0,
    misfire_s      integer     not null default 300 check (misfire_s >= 0),
    coalesce_fires boolean     not null default true,
    state          text        not null default 'SCHEDULED' check (state in ('SCHEDULED', 'PAUSED', 'BLOCKED')),
    state_detail   text        not null default '',
    next_fire_at   timestamptz,
    last_fire_at   timestamptz,
    settings       jsonb       not null default '{}',
    created_at     timestamptz not null default now(),
    updated_at     timestamptz not null default now(),
    revision       bigint      not null default 1,
    unique (kind, provider, interval, index_name, cron, time_zone)
);
create index collection_jobs_due on datahub.collection_jobs (next_fire_at) where state = 'SCHEDULED';

-- One piece of collection: one series and one slot of its schedule (or one index). Claimed once, by whichever replica is first.
create table datahub.collection_runs (
    run_id           bigint           not null generated always as identity primary key,
    job_id           bigint           references datahub.collection_jobs on delete set null,
    kind             text             not null check (kind in ('BARS', 'INDEX_SYNC', 'REPAIR', 'MAINTENANCE')),
    trigger          text             not null
                     check (trigger in ('SCHEDULE', 'CATCH_UP', 'INITIAL', 'MANUAL', 'BACKFILL', 'REPAIR', 'FEED_SEAM', 'RETRY')),
    state            text             not null default 'PENDING'
                     check (state in ('PENDING', 'RUNNING', 'THROTTLED', 'BACKING_OFF', 'SUCCEEDED', 'PARTIAL', 'FAILED', 'CANCELLED', 'SKIPPED')),
    series_id        integer          references datahub.series,
    provider         text             not null default '',
    index_name       text             not null default '',
    range_start      timestamptz,
    range_end        timestamptz,
    scheduled_for    timestamptz      not null,
    batch_id         uuid,
    operation_id     uuid,
    gap_id           bigint,
    attempts         integer          not null default 0,
    max_attempts     integer          not null default 5,
    next_attempt_at  timestamptz,
    worker           text,
    lease_until      timestamptz,
    cancel_requested boolean          not null default false,
    watermark        timestamptz,
    checkpoint       jsonb            not null default '{}',
    fetched          bigint           not null default 0,
    inserted         bigint           not null default 0,
    updated          bigint           not null default 0,
    unchanged        bigint           not null default 0,
    quarantined      bigint           not null default 0,
    bytes            bigint           not null default 0,
    vendor_calls     bigint           not null default 0,
    wait_s           double precision not null default 0,
    slots_done       bigint           not null default 0,
    slots_total      bigint           not null default 0,
    slots_gap        bigint           not null default 0,
    result           jsonb,
    error            jsonb,
    created_at       timestamptz      not null default now(),
    started_at       timestamptz,
    updated_at       timestamptz      not null default now(),
    finished_at      timestamptz,
    unique (series_id, kind, trigger, scheduled_for),
    check ((finished_at is not null) = (state in ('SUCCEEDED', 'PARTIAL', 'FAILED', 'CANCELLED', 'SKIPPED')))
);
create index collection_runs_claim on datahub.collection_runs (provider, (coalesce(next_attempt_at, scheduled_for)))
    where state in ('PENDING', 'RUNNING', 'THROTTLED', 'BACKING_OFF');
create unique index collection_runs_index on datahub.collection_runs (job_id, trigger, scheduled_for) where series_id is null and job_id is not null;
create index collection_runs_newest on datahub.collection_runs (created_at desc, run_id desc);
create index collection_runs_series on datahub.collection_runs (series_id, run_id desc);
create index collection_runs_job on datahub.collection_runs (job_id, run_id desc);
create index collection_runs_operation on datahub.collection_runs (operation_id) where operation_id is not null;
comment on column datahub.collection_runs.scheduled_for is 'The slot: the fire time by the schedule, or when the run was asked for';
comment on column datahub.collection_runs.watermark is 'Everything before it is stored; a retry goes on from here';

create table datahub.run_attempts (
    run_id        bigint      not null references datahub.collection_runs on delete cascade,
    attempt       integer     not null check (attempt > 0),
    worker        text        not null,
    started_at    timestamptz not null,
    finished_at   timestamptz,
    counts        jsonb       not null default '{}',
    error         jsonb,
    retry_after_s double precision,
    log_lines     text[]      not null default '{}',
    primary key (run_id, attempt)
);

-- Rows that were not stored, as they came, with the reason.
create table datahub.quarantine (
    row_id         bigint      not null generated always as identity primary key,
    series_id      integer     references datahub.series,
    provider       text        not null,
    symbol         text        not null,
    interval       text        not null,
    row_time       timestamptz,
    reason         text        not null check (reason in (
                       'NOT_FINITE', 'PRICE_ORDER', 'NEGATIVE', 'MALFORMED', 'NAIVE_TIME', 'OUTSIDE_RANGE', 'OFF_GRID', 'FUTURE',
                       'UNKNOWN_SYMBOL', 'CONFLICT', 'SESSION_CLOSED', 'SENTINEL')),
    detail         text        not null default '',
    payload        jsonb       not null,
    run_id         bigint,
    operation_id   uuid,
    state          text        not null default 'HELD' check (state in ('HELD', 'RELEASED', 'DISCARDED')),
    quarantined_at timestamptz not null default now(),
    resolved_at    timestamptz,
    resolved_by    jsonb
);
create index quarantine_held on datahub.quarantine (row_id desc) where state = 'HELD';
create index quarantine_series on datahub.quarantine (provider, symbol, interval, row_id desc);
create index quarantine_run on datahub.quarantine (run_id) where run_id is not null;
comment on column datahub.quarantine.payload is 'The row as it came; numbers that JSON lacks (NaN, infinities) stand as text';

-- Providers that an operator has paused.
create table datahub.provider_pauses (
    provider  text        not null primary key,
    reason    text        not null default '',
    paused_at timestamptz not null default now(),
    paused_by jsonb,
    resume_at timestamptz
);

-- What the quality checks found.
create table datahub.quality_findings (
    finding_id      bigint           not null generated always as identity primary key,
    series_id       integer          not null references datahub.series,
    kind            text             not null check (kind in (
                        'MISSING', 'ZERO_VOLUME', 'SPIKE', 'STALE', 'PROVIDER_DISAGREEMENT', 'TICK_DISAGREEMENT', 'UNEXPLAINED_JUMP', 'QUARANTINED')),
    session_date    date             not null,
    start_time      timestamptz      not null,
    end_time        timestamptz      not null,
    bars            integer          not null default 1,
    observed        double precision,
    expected        double precision,
    bound           double precision,
    other_series_id integer,
    message         text             not null default '',
    detected_at     timestamptz      not null default now(),
    unique (series_id, kind, start_time)
);
create index quality_findings_day on datahub.quality_findings (series_id, session_date);
create index quality_findings_newest on datahub.quality_findings (detected_at desc, finding_id desc);
