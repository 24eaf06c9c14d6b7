-- What is done again and again, in one list: collection, syncs of indices, the repair of gaps, upkeep.

create view datahub.standing_jobs as
    select j.job_id, j.kind, j.provider, j.interval, j.index_name, j.cron, j.time_zone, j.offset_s, j.misfire_s, j.next_fire_at, j.last_fire_at,
           case j.kind
               when 'INDEX_SYNC' then 'index_sync/' || j.provider || '/' || j.index_name
               when 'MAINTENANCE' then 'maintenance/storage'
               else 'bars/' || j.provider || '/' || j.interval || '/' || j.cron
                   || case when j.time_zone in ('', 'UTC') then '' else '@' || j.time_zone end end as name,
           exists (select from datahub.provider_pauses p where p.provider = j.provider)
               or (j.kind = 'BARS' and not exists (
                   select from datahub.subscribed_series s where s.job_id = j.job_id and s.active and s.historical)) as paused
    from datahub.collection_jobs j
    union all
    select -(hashtextextended(g.provider, 0) & 4611686018427387903), 'REPAIR', g.provider, '', '', '', 'UTC', 0, 0, g.next_attempt_at,
           (select max(r.created_at) from datahub.collection_runs r where r.provider = g.provider and r.kind = 'REPAIR' and r.trigger = 'REPAIR'),
           'repair/' || g.provider,
           exists (select from datahub.provider_pauses p where p.provider = g.provider)
    from (
        select s.provider, min(g.next_attempt_at) as next_attempt_at
        from datahub.gaps g join datahub.series s on s.series_id = g.series_id
        where g.state <> 'REPAIRED' and g.end_time is not null and s.interval <> ''
        group by s.provider
    ) g;
comment on view datahub.standing_jobs is 'Jobs as they are told. The repair of a provider''s gaps is one as long as it has any: it fires when the next of them is due';
comment on column datahub.standing_jobs.paused is 'Its provider is paused, or every subscription that it collects for';

create index collection_runs_repairs on datahub.collection_runs (provider, created_at desc) where kind = 'REPAIR' and trigger = 'REPAIR';
create unique index collection_jobs_maintenance on datahub.collection_jobs (kind) where kind = 'MAINTENANCE';
