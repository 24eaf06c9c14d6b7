-- name: job_rows
-- Jobs with their figures. {filter} is a condition on `j`, {order} an ordering.
with jobs as (
    select c.*, case when c.paused then 'PAUSED' when c.kind <> 'MAINTENANCE' and c.provider <> all($2::text[]) then 'BLOCKED'
                     else 'SCHEDULED' end as state
    from standing_jobs c
)
select j.*,
       case j.kind when 'REPAIR' then (
           select count(distinct g.series_id) from gaps g join series s on s.series_id = g.series_id
           where g.state <> 'REPAIRED' and s.provider = j.provider and s.interval <> '')
       else (select count(*) from subscribed_series s where s.job_id = j.job_id) end as series_count,
       case j.kind when 'REPAIR' then (
           select count(distinct g.series_id) from gaps g join series s on s.series_id = g.series_id
           where g.state in ('OPEN', 'REPAIRING') and s.provider = j.provider and s.interval <> '')
       else (select count(*) from subscribed_series s left join series_progress p on p.series_id = s.series_id
             where s.job_id = j.job_id and s.active and (p.classified_until is null or p.classified_until < j.last_fire_at))
       end as due_series_count,
       (select count(*) from collection_runs r
        where case j.kind when 'REPAIR' then r.provider = j.provider and r.kind = 'REPAIR' and r.trigger = 'REPAIR' else r.job_id = j.job_id end
          and r.state in ('PENDING', 'RUNNING', 'THROTTLED', 'BACKING_OFF')) as active_runs,
       case j.kind when 'REPAIR' then (
           select jsonb_object_agg(l.state, l.runs) from (
               select r.state, count(*) as runs from collection_runs r
               where r.kind = 'REPAIR' and r.trigger = 'REPAIR' and r.provider = j.provider and r.created_at = j.last_fire_at group by r.state) l)
       else (
           select jsonb_object_agg(l.state, l.runs) from (
               select r.state, count(*) as runs from collection_runs r
               where r.job_id = j.job_id and r.scheduled_for = j.last_fire_at group by r.state) l) end as last_states,
       {key} as order_key
from jobs j where {filter} order by {order} limit $1;

-- name: job_total
with jobs as (
    select c.*, case when c.paused then 'PAUSED' when c.kind <> 'MAINTENANCE' and c.provider <> all($1::text[]) then 'BLOCKED'
                     else 'SCHEDULED' end as state
    from standing_jobs c
)
select count(*) from jobs j where {filter};

-- name: series_of_job
-- Series of a job by symbol, after a place: those that it collects, or those with gaps that it repairs.
select x.series_id
from (
    select s.series_id from subscribed_series s where s.job_id = $1
    union
    select g.series_id from gaps g join series s on s.series_id = g.series_id where $2 <> '' and s.provider = $2 and g.state <> 'REPAIRED' and s.interval <> ''
) n join series x on x.series_id = n.series_id
where (x.symbol, x.series_id) > ($3, $4) order by x.symbol, x.series_id limit $5;

-- name: series_states
-- What is known of series, subscribed or not.
select x.series_id, x.provider, x.symbol, x.interval, s.active, s.historical, s.live, s.backfill_start, s.job_id,
       p.classified_from, p.classified_until, p.rows, p.watermark, l.open_time as last_open, l.close as last_close,
       j.next_fire_at, j.kind as job_kind, j.provider as job_provider, j.interval as job_interval, j.index_name as job_index,
       j.cron as job_cron, j.time_zone as job_time_zone,
       (select count(*) from gaps g where g.series_id = x.series_id and g.state <> 'REPAIRED') as open_gaps,
       (select coalesce(sum(g.missing_slots), 0) from gaps g where g.series_id = x.series_id and g.state <> 'REPAIRED')::bigint as missing,
       exists (select from provider_pauses q where q.provider = x.provider) as paused,
       (select c.finished_at from collection_runs c
        where c.series_id = x.series_id and c.state = 'SUCCEEDED' order by c.run_id desc limit 1) as succeeded_at,
       (select 1 - coalesce(sum(c.slots) filter (where c.state in (5, 7)), 0)::float8 / nullif(sum(c.slots), 0)
        from coverage c where c.series_id = x.series_id) as complete_ratio,
       r.run_id, r.state as run_state, r.finished_at, r.error, r.trigger as run_trigger
from unnest($1::integer[]) n(series_id)
join series x on x.series_id = n.series_id
left join subscribed_series s on s.series_id = x.series_id
left join series_progress p on p.series_id = x.series_id
left join bar_last l on l.series_id = x.series_id
left join collection_jobs j on j.job_id = s.job_id
left join lateral (select * from collection_runs c where c.series_id = x.series_id order by c.run_id desc limit 1) r on true;

-- name: tick_prices
-- The price of the last stored tick that has one, of series of which a tick of that time was the last.
select n.series_id, t.price
from unnest($1::integer[], $2::timestamptz[]) n(series_id, event_time)
cross join lateral (
    select price from ticks t
    where t.series_id = n.series_id and t.event_time = n.event_time and t.price is not null
    order by t.sequence desc limit 1
) t;

-- name: gap_rows
select g.*, f.provider, f.symbol, f.interval, f.common_symbol, {key} as order_key
from gaps g join series_facts f on f.series_id = g.series_id
where {filter} order by {order} limit $1;

-- name: gap_check
select count(*) as checked, max(p.updated_at) as at from subscribed_series s left join series_progress p on p.series_id = s.series_id;

-- name: gap_ids
select g.gap_id from gaps g join series_facts f on f.series_id = g.series_id where {filter} order by g.gap_id limit 10000;

-- name: covered_series
-- Series by provider, symbol and interval, after a place; those that are subscribed unless they are named.
select f.*, s.backfill_start, p.classified_from, p.classified_until, c.complete_ratio, {key} as order_key
from series_facts f
join subscribed_series s on s.series_id = f.series_id
left join series_progress p on p.series_id = f.series_id
left join lateral (
    select 1 - coalesce(sum(slots) filter (where state in (5, 7)), 0)::float8 / nullif(sum(slots), 0) as complete_ratio
    from coverage c where c.series_id = f.series_id
) c on true
where f.interval <> '' and {filter}
order by {order} limit $1;

-- name: coverage_totals
-- Slots of subscribed series by state. Rows that the range from $1 to $2 cuts stand one by one, with their series.
select w.series_id, w.state, w.start_time, w.end_time, sum(w.slots)::bigint as slots
from (
    select f.series_id from series_facts f
    join subscribed_series s on s.series_id = f.series_id
    left join lateral (
        select 1 - coalesce(sum(slots) filter (where state in (5, 7)), 0)::float8 / nullif(sum(slots), 0) as complete_ratio
        from coverage c where c.series_id = f.series_id
    ) c on true
    where f.interval <> '' and {filter}
) chosen
join lateral (
    select case when cut then chosen.series_id end as series_id, v.state, case when cut then v.start_time end as start_time,
           case when cut then v.end_time end as end_time, v.slots
    from coverage v cross join lateral (select v.start_time < $1 or v.end_time > $2 as cut) x
    where v.series_id = chosen.series_id and v.start_time < $2 and v.end_time > $1
) w on true
group by w.series_id, w.state, w.start_time, w.end_time
order by w.state;

-- name: coverage_rows
select c.series_id, c.start_time, c.end_time, c.state, c.slots, c.source_series_id, coalesce(o.provider, '') as source_provider
from coverage c left join series o on o.series_id = c.source_series_id
where c.series_id = any($1::integer[]) and c.start_time < $3 and c.end_time > $2
order by c.series_id, c.start_time;

-- name: backfill_series
select f.series_id from series_facts f where f.interval <> '' and {filter} order by f.series_id limit 10000;

-- name: quarantine_rows
select q.*, {key} as order_key from quarantine q where {filter} order by {order} limit $1;

-- name: quarantine_chosen
select q.* from quarantine q where {filter} order by q.row_id limit $1 for update;

-- name: quarantine_settle
update quarantine set state = $2, resolved_at = $3, resolved_by = $4 where row_id = any($1::bigint[]) and state = 'HELD'
returning row_id, provider;

-- name: series_of_provider
select s.series_id, s.job_id from subscribed_series s join series x on x.series_id = s.series_id
where s.active and s.historical and s.job_id is not null and ($1 = '' or x.provider = $1) and ($2::bigint is null or s.job_id = $2);

-- name: gaps_by_ids
select g.gap_id, g.state, g.missing_slots, g.repaired_from, s.provider
from gaps g join series s on s.series_id = g.series_id where g.gap_id = any($1::bigint[]) order by g.gap_id;
