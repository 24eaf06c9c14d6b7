-- What the registry knows of each series, beside the series itself, and what the DataHub's ledger needs to say where it begins.

create view datahub.series_facts as
    select s.series_id, s.provider, s.symbol, s.interval, s.calendar, s.derived_from,
           coalesce(m.symbol, '') as common_symbol,
           coalesce(a.name, '') as name,
           coalesce(a.exchange, '') as exchange,
           coalesce(a.asset_class, '') as asset_class,
           coalesce(a.base_currency, '') as base_currency,
           coalesce(a.quote_currency, '') as quote_currency,
           coalesce(a.identity_id, '') as identity_id,
           coalesce(a.external_id, '') as external_id,
           a.price_increment, a.size_increment
    from datahub.series s
    left join registry.code_registry c on c.kind = 'provider' and lower(c.name) = lower(s.provider)
    left join registry.assets a on a.code_id = c.code_id and a.symbol = s.symbol
    left join registry.asset_mapping am on am.asset_id = a.asset_id and am.active
    left join registry.common_symbols m on m.common_symbol_id = am.common_symbol_id;
comment on view datahub.series_facts is 'Series with what the registry says of their assets; empty where it says nothing';

alter table datahub.series_progress add column classified_from timestamptz;
comment on column datahub.series_progress.classified_from is 'From where on the ledger of a series is classified, without a break up to classified_until';

-- The ledger keeps the slots that a bar is expected in. Closed slots follow from the calendar and are not stored.
comment on column datahub.coverage.state is 'SlotState: 1 OBSERVED, 2 NO_TRADE, 4 EMPTY, 5 GAP, 6 REPAIRED, 7 UNREPAIRABLE; 3 CLOSED follows from the calendar';

-- Runs that wait behind a run of the same series must be found quickly.
create index collection_runs_active on datahub.collection_runs (series_id) where state in ('PENDING', 'RUNNING', 'THROTTLED', 'BACKING_OFF');
create index collection_runs_changed on datahub.collection_runs (updated_at, run_id);
create index collection_runs_batch on datahub.collection_runs (batch_id) where batch_id is not null;

-- A series that subscriptions select now, and how; the union of what they want of it.
create table datahub.subscribed_series (
    series_id      integer     not null primary key references datahub.series,
    job_id         bigint      references datahub.collection_jobs on delete set null,
    historical     boolean     not null default false,
    live           boolean     not null default false,
    store_ticks    boolean     not null default false,
    active         boolean     not null default true,
    backfill_start timestamptz,
    updated_at     timestamptz not null default now()
);
create index subscribed_series_job on datahub.subscribed_series (job_id);
comment on column datahub.subscribed_series.job_id is 'The job that collects its history; null: none does';
