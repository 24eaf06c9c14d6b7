-- name: selected_series
-- What subscriptions want of each series: the union. Of its history those count that are active, or all where none is. Where one of them goes
-- by the interval, all do: what another one's expression asks for is there then. Of several expressions the first in the alphabet counts.
with wished as (
    select c.name as provider, y.symbol, s.interval, s.historical, s.live, s.store_ticks, s.tick_kinds, s.cron, s.time_zone, s.backfill_start,
        s.state = 'ACTIVE' as active, s.historical and s.state = 'ACTIVE' as fetches
    from registry.provider_subscription s
    join registry.code_registry c on c.code_id = s.code_id and c.deleted_at is null
    join registry.subscription_symbols y on y.subscription_id = s.subscription_id
    where $1 = '' or lower(c.name) = lower($1)
),
counted as (
    select w.*, fetches or (historical and not bool_or(fetches) over (partition by provider, symbol, interval)) as counts
    from wished w
)
select provider, symbol, interval, bool_or(fetches) as historical, bool_or(historical) as collects,
       bool_or(live and active) as live, bool_or(store_ticks and active) as store_ticks,
       string_agg(case when interval <> '' or tick_kinds = '{}' then 'TRADE,' else '' end || array_to_string(tick_kinds, ','), ',')
           filter (where live and active) as tick_kinds,
       bool_or(active) as active,
       case when bool_or(cron = '') filter (where counts) then '' else coalesce(min(cron) filter (where counts), '') end as cron,
       coalesce(nullif((array_agg(time_zone order by cron, time_zone) filter (where counts))[1], ''), 'UTC') as time_zone,
       min(backfill_start) filter (where counts) as backfill_start,
       coalesce(bool_or(backfill_start is null) filter (where counts), false) as as_preferred
from counted
group by provider, symbol, interval;

-- name: lock_refresh
select pg_advisory_xact_lock(hashtextextended('quasar.subscriptions', 0));

-- name: jobs_put
-- Make the jobs that are missing and take over what the provider's settings say.
insert into collection_jobs as j (kind, provider, interval, index_name, cron, time_zone, offset_s, settings, created_at, updated_at)
select $1, n.provider, n.interval, n.index_name, n.cron, n.time_zone, n.offset_s, n.settings, $9, $9
from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::integer[], $8::jsonb[])
    n(provider, interval, index_name, cron, time_zone, offset_s, settings)
on conflict (kind, provider, interval, index_name, cron, time_zone) do update
set next_fire_at = case when j.offset_s = excluded.offset_s then j.next_fire_at end, offset_s = excluded.offset_s,
    settings = excluded.settings, updated_at = excluded.updated_at, revision = j.revision + 1
where (j.offset_s, j.settings) is distinct from (excluded.offset_s, excluded.settings);

-- name: jobs_of_kind
select job_id, provider, interval, index_name, cron, time_zone from collection_jobs where kind = $1 and ($2 = '' or lower(provider) = lower($2));

-- name: jobs_remove
delete from collection_jobs where job_id = any($1::bigint[]);

-- name: subscribed_put
insert into subscribed_series as s (series_id, job_id, historical, live, store_ticks, tick_kinds, active, backfill_start, updated_at)
select n.series_id, n.job_id, n.historical, n.live, n.store_ticks, string_to_array(n.tick_kinds, ','), n.active, n.backfill_start, $9
from unnest($1::integer[], $2::bigint[], $3::boolean[], $4::boolean[], $5::boolean[], $6::text[], $7::boolean[], $8::timestamptz[])
    n(series_id, job_id, historical, live, store_ticks, tick_kinds, active, backfill_start)
on conflict (series_id) do update
set job_id = excluded.job_id, historical = excluded.historical, live = excluded.live, store_ticks = excluded.store_ticks,
    tick_kinds = excluded.tick_kinds, active = excluded.active, backfill_start = excluded.backfill_start, updated_at = excluded.updated_at
where (s.job_id, s.historical, s.live, s.store_ticks, s.tick_kinds, s.active, s.backfill_start)
    is distinct from (excluded.job_id, excluded.historical, excluded.live, excluded.store_ticks, excluded.tick_kinds, excluded.active,
                      excluded.backfill_start);

-- name: subscribed_drop
-- Forget series that nothing selects any more; their data stays.
delete from subscribed_series s
using series x
where x.series_id = s.series_id and ($2 = '' or lower(x.provider) = lower($2)) and s.series_id <> all($1::integer[])
returning s.series_id;

-- name: subscribed_count
select (select count(*) from subscribed_series) as series, (select count(*) from collection_jobs where kind <> 'MAINTENANCE') as jobs;

-- name: new_series
-- Series whose history is wanted and was never asked for so far back, beside some. $4 to $6: where a history that nobody gave a start begins, by
-- provider and interval: what is collected already may begin later, since it was live only, had a start, or the preference was another one.
select s.series_id, s.job_id, s.backfill_start, p.classified_from, x.provider
from subscribed_series s
join series x on x.series_id = s.series_id
left join series_progress p on p.series_id = s.series_id
left join unnest($4::text[], $5::text[], $6::timestamptz[]) n (provider, interval, start) on n.provider = x.provider and n.interval = x.interval
where s.historical and s.active and s.job_id is not null and x.provider = any($1::text[]) and s.series_id <> all($3::integer[])
  and (p.classified_from is null or coalesce(s.backfill_start, n.start) < p.classified_from)
  and not exists (
      select from collection_runs r
      where r.series_id = s.series_id and r.trigger = 'INITIAL'
        and coalesce(r.range_start <= coalesce(s.backfill_start, case when p.classified_from is not null then n.start end), true))
order by s.series_id
limit $2;

-- name: job_due
-- One job that is due, or new. Somebody else's is left alone; one without a schedule waits until somebody asks.
select j.* from collection_jobs j
where j.state = 'SCHEDULED' and (j.next_fire_at <= $1 or j.next_fire_at is null and j.cron <> '') and j.provider = any($2::text[])
  and not exists (select from provider_pauses p where p.provider = j.provider)
  and (j.kind <> 'BARS' or exists (select from subscribed_series s where s.job_id = j.job_id and s.active and s.historical))
order by j.next_fire_at nulls first
limit 1
for update skip locked;

-- name: job_fired
update collection_jobs set next_fire_at = $2, last_fire_at = coalesce($3, last_fire_at), updated_at = $4 where job_id = $1;

-- name: next_fire
select min(next_fire_at) from collection_jobs j
where j.state = 'SCHEDULED' and j.provider = any($1::text[])
  and not exists (select from provider_pauses p where p.provider = j.provider)
  and (j.kind <> 'BARS' or exists (select from subscribed_series s where s.job_id = j.job_id and s.active and s.historical));

-- name: job_series
-- Series of a job with how far they are classified.
select s.series_id, s.backfill_start, p.classified_until
from subscribed_series s
left join series_progress p on p.series_id = s.series_id
where s.job_id = $1 and s.active and s.historical;

-- name: gaps_due
-- Gaps whose next attempt is due, of providers that can be asked.
select g.gap_id, g.series_id, g.start_time, g.end_time, g.missing_slots, g.attempts, g.next_attempt_at, s.provider
from gaps g join series s on s.series_id = g.series_id
where g.state in ('OPEN', 'UNREPAIRABLE') and g.next_attempt_at <= $1 and g.end_time is not null and s.interval <> ''
  and s.provider = any($2::text[]) and not exists (select from provider_pauses p where p.provider = s.provider)
order by g.next_attempt_at
limit $3
for update of g skip locked;

-- name: gap_repairing
update gaps set state = 'REPAIRING', updated_at = $2 where gap_id = any($1::bigint[]) and state <> 'REPAIRED';

-- name: gap_postpone
update gaps set next_attempt_at = $2 where gap_id = any($1::bigint[]);

-- name: gap_attempted
-- What became of a gap that was asked for: it stays open, or is given up, for a while.
update gaps
set state = $2, attempts = attempts + 1, next_attempt_at = $3, run_id = $4, updated_at = $5,
    evidence = (case when jsonb_array_length(evidence) >= 20 then evidence - 0 else evidence end) || $6::jsonb
where gap_id = $1 and state <> 'REPAIRED'
returning start_time, end_time, series_id;

-- name: gaps_left
-- Those of some gaps that are not repaired.
select * from gaps where gap_id = any($1::bigint[]) and state <> 'REPAIRED' order by start_time;

-- name: gaps_stranded
-- Gaps whose run has ended without a word about them are open again.
update gaps g set state = 'OPEN', updated_at = $1, next_attempt_at = $1
where g.state = 'REPAIRING' and g.end_time is not null and exists (select from series s where s.series_id = g.series_id and s.interval <> '')
  and not exists (
      select from collection_runs r
      where r.series_id = g.series_id and r.kind = 'REPAIR' and r.state in ('PENDING', 'RUNNING', 'THROTTLED', 'BACKING_OFF')
  );

-- name: fired_ahead
-- The latest time at which a job has fired, if it lies after $1.
select max(last_fire_at) from collection_jobs where last_fire_at > $1;

-- name: jobs_fire_again
update collection_jobs set next_fire_at = null, last_fire_at = null, updated_at = $1 where last_fire_at > $2 returning job_id;

-- name: runs_of_the_future
-- Runs that were planned for times that have not come are ended; leases that reach into them end now.
update collection_runs
set state = case when state in ('PENDING', 'BACKING_OFF') then 'SKIPPED' else state end,
    finished_at = case when state in ('PENDING', 'BACKING_OFF') then $1 else finished_at end,
    lease_until = case when state in ('RUNNING', 'THROTTLED') then least(lease_until, $1 + interval '1 minute') end,
    updated_at = $1
where state in ('PENDING', 'RUNNING', 'THROTTLED', 'BACKING_OFF') and (created_at > $1 or lease_until > $1 + interval '1 hour');

-- name: classified_ahead
select p.series_id, p.classified_until from series_progress p join series s on s.series_id = p.series_id
where p.classified_until > $1 and s.interval <> '' order by p.series_id;

-- name: gaps_ahead
delete from gaps where series_id = $1 and start_time >= $2 and state <> 'REPAIRED';

-- name: gaps_of_the_future
-- Gaps that were found while the clock was ahead are asked for now.
update gaps set next_attempt_at = $1, detected_at = $1, updated_at = $1 where detected_at > $1 and state in ('OPEN', 'UNREPAIRABLE');

-- name: classified_only_until
update series_progress set classified_until = $2, classified_from = least(classified_from, $2) where series_id = $1;
