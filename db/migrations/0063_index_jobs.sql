-- Syncs of provider indices are jobs of the DataHub's collection: when each index is due, for it to read, and one job for each of them.

create view registry.index_schedules as
    select i.index_id, i.name, c.name as provider, f.frequency,
        case f.frequency when 'CRON' then i.sync_cron when 'DAILY' then '0 0 * * *' when 'WEEKLY' then '0 0 * * 1' when 'MONTHLY' then '0 0 1 * *'
            else '' end as cron,
        coalesce(nullif(i.sync_time_zone, ''), 'UTC') as time_zone,
        i.next_sync_at
    from registry.indices i
    join registry.code_registry c on c.code_id = i.code_id and c.deleted_at is null
    cross join lateral (
        select coalesce(i.sync_frequency, case c.preferences #>> '{scheduling,sync_frequency}' when '1d' then 'DAILY' when '1M' then 'MONTHLY'
            else 'WEEKLY' end) as frequency
    ) f
    where i.type = 'PROVIDER';
comment on view registry.index_schedules is 'The schedule of each provider index, its own or the one that its provider''s preferences ask for; weekdays as in crontab';
comment on column registry.index_schedules.cron is 'Empty: only when somebody asks';

create unique index collection_jobs_index_sync on datahub.collection_jobs (provider, index_name) where kind = 'INDEX_SYNC';
create index collection_runs_index_name on datahub.collection_runs (provider, index_name)
    where kind = 'INDEX_SYNC' and state in ('PENDING', 'RUNNING', 'THROTTLED', 'BACKING_OFF');
comment on column datahub.collection_runs.checkpoint is 'What a further attempt has to know; of an index sync the operation of the registry that does it';
