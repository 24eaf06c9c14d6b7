-- name: runs_insert
-- Record runs, one of a series at most. A slot that has a run already, and a series that is being worked on, are left out; with $16 a run
-- that waits for its provider to be resumed is none that works.
insert into collection_runs (
    job_id, kind, trigger, series_id, provider, range_start, range_end, scheduled_for, batch_id, operation_id, gap_id, gap_ids, slots_total,
    max_attempts, created_at, updated_at, own_provider_only
)
select n.job_id, $1, $2, n.series_id, n.provider, n.range_start, n.range_end, $3, $4, $5, (string_to_array(n.gap_ids, ','))[1]::bigint,
       string_to_array(n.gap_ids, ',')::bigint[], n.slots, $6, $7, $7, $15
from unnest($8::bigint[], $9::integer[], $10::text[], $11::timestamptz[], $12::timestamptz[], $13::text[], $14::bigint[])
    n(job_id, series_id, provider, range_start, range_end, gap_ids, slots)
where not exists (
    select from collection_runs r
    where r.series_id = n.series_id and r.state in ('PENDING', 'RUNNING', 'THROTTLED', 'BACKING_OFF')
      and r.range_start < n.range_end and r.range_end > n.range_start
      and (not $16 or r.trigger = 'MANUAL' or r.state in ('RUNNING', 'THROTTLED'))
)
on conflict do nothing
returning run_id, series_id;

-- name: runs_claim
-- Take runs that are due, of each provider as many as are free. Nobody else takes a row that somebody is taking.
with due as (
    select c.run_id
    from unnest($1::text[], $2::integer[]) p(provider, free)
    cross join lateral (
        select r.run_id from collection_runs r
        where r.provider = p.provider
          and ((r.state in ('PENDING', 'BACKING_OFF') and coalesce(r.next_attempt_at, r.scheduled_for) <= $3)
               or (r.state in ('RUNNING', 'THROTTLED') and r.lease_until < $3))
          and (r.trigger = 'MANUAL' or r.cancel_requested or not exists (select from provider_pauses x where x.provider = r.provider))
        order by case r.trigger when 'BACKFILL' then 3 when 'INITIAL' then 2 when 'REPAIR' then 1 else 0 end,
                 coalesce(r.next_attempt_at, r.scheduled_for)
        limit p.free
        for update skip locked
    ) c
)
update collection_runs r
set state = 'RUNNING', worker = $4, lease_until = $5, attempts = r.attempts + 1, started_at = coalesce(r.started_at, $3), updated_at = $3,
    next_attempt_at = null
from due
where r.run_id = due.run_id
returning r.*;

-- name: runs_renew
-- Extend the leases of a worker; a run that is missing in the answer belongs to somebody else now.
update collection_runs set lease_until = $3
where run_id = any($1::bigint[]) and worker = $2 and state in ('RUNNING', 'THROTTLED')
returning run_id, cancel_requested;

-- name: runs_end_leases
-- Give back what a worker holds, so that the next one need not wait for its lease.
update collection_runs set state = 'PENDING', lease_until = null, updated_at = $2
where worker = $1 and state in ('RUNNING', 'THROTTLED');

-- name: runs_give_back
-- Give back what a worker holds beside what it is doing.
update collection_runs set state = 'PENDING', lease_until = null, updated_at = $2
where worker = $1 and state in ('RUNNING', 'THROTTLED') and run_id <> all($3::bigint[]);

-- name: workers_of_runs
select distinct worker from collection_runs where state in ('RUNNING', 'THROTTLED') and worker is not null;

-- name: run_advance
-- Write how far a run has come; nothing happens when the run is somebody else's now.
update collection_runs
set watermark = $4, fetched = fetched + $5, inserted = inserted + $6, updated = updated + $7, unchanged = unchanged + $8,
    quarantined = quarantined + $9, bytes = bytes + $10, vendor_calls = vendor_calls + $11, wait_s = wait_s + $12, slots_done = $13,
    updated_at = $14
where run_id = $1 and worker = $2 and attempts = $3 and state in ('RUNNING', 'THROTTLED')
returning run_id;

-- name: run_finish
update collection_runs
set state = $4, error = $5, result = $6, slots_done = $7, slots_gap = $8, finished_at = $9, updated_at = $9, lease_until = null
where run_id = $1 and worker = $2 and attempts = $3 and state in ('RUNNING', 'THROTTLED')
returning *;

-- name: run_back_off
update collection_runs
set state = 'BACKING_OFF', error = $4, next_attempt_at = $5, updated_at = $6, lease_until = null
where run_id = $1 and worker = $2 and attempts = $3 and state in ('RUNNING', 'THROTTLED')
returning *;

-- name: attempt_begin
insert into run_attempts (run_id, attempt, worker, started_at) values ($1, $2, $3, $4)
on conflict (run_id, attempt) do nothing;

-- name: run_throttled
update collection_runs set state = case when $4 then 'THROTTLED' else 'RUNNING' end, updated_at = $5
where run_id = $1 and worker = $2 and attempts = $3 and state in ('RUNNING', 'THROTTLED');

-- name: attempts_broken_off
-- End attempts that their worker never ended, of runs that were taken over. The figures are those of the run without the attempts before.
update run_attempts a
set finished_at = $2, error = $3,
    counts = (
        select jsonb_object_agg(n.name, (to_jsonb(r) ->> n.name)::float8 - coalesce((
            select sum((b.counts ->> n.name)::float8) from run_attempts b where b.run_id = r.run_id and b.attempt < a.attempt), 0))
        from collection_runs r, unnest($4::text[]) n(name) where r.run_id = a.run_id)
where a.run_id = any($1::bigint[]) and a.finished_at is null
returning a.run_id, a.worker;

-- name: attempt_end
-- The figures of the attempt are those of its run without the attempts before.
update run_attempts a
set finished_at = $3, error = $5, retry_after_s = $6, log_lines = $7,
    counts = (
        select jsonb_object_agg(n.name, (to_jsonb(r) ->> n.name)::float8 - coalesce((
            select sum((b.counts ->> n.name)::float8) from run_attempts b where b.run_id = r.run_id and b.attempt < a.attempt), 0))
        from collection_runs r, unnest($4::text[]) n(name) where r.run_id = a.run_id)
where a.run_id = $1 and a.attempt = $2;

-- name: run_attempts
select * from run_attempts where run_id = $1 order by attempt;

-- name: run_cancel
-- A run that nobody works on ends at once; one in work is asked to stop.
update collection_runs
set cancel_requested = true, updated_at = $2,
    state = case when state in ('PENDING', 'BACKING_OFF') then 'CANCELLED' else state end,
    finished_at = case when state in ('PENDING', 'BACKING_OFF') then $2 else finished_at end
where run_id = $1 and state in ('PENDING', 'RUNNING', 'THROTTLED', 'BACKING_OFF')
returning run_id;

-- name: runs_cancel_of_series
update collection_runs
set cancel_requested = true, updated_at = $2,
    state = case when state in ('PENDING', 'BACKING_OFF') then 'CANCELLED' else state end,
    finished_at = case when state in ('PENDING', 'BACKING_OFF') then $2 else finished_at end
where series_id = any($1::integer[]) and state in ('PENDING', 'RUNNING', 'THROTTLED', 'BACKING_OFF')
  and trigger in ('SCHEDULE', 'CATCH_UP', 'INITIAL', 'REPAIR');

-- name: run_hurry
update collection_runs set next_attempt_at = $2, updated_at = $2 where run_id = $1 and state = 'BACKING_OFF' returning run_id;

-- name: runs_active_of_series
-- Runs that have not ended; with $2 without those that wait for their provider to be resumed.
select run_id, series_id, range_start, range_end from collection_runs
where series_id = any($1::integer[]) and state in ('PENDING', 'RUNNING', 'THROTTLED', 'BACKING_OFF')
  and (not $2 or trigger = 'MANUAL' or state in ('RUNNING', 'THROTTLED'))
order by run_id;

-- name: runs_join
update collection_runs set joined_batches = array_append(joined_batches, $2), updated_at = $3 where run_id = any($1::bigint[]);

-- name: run_rows
-- Runs with their series and job. {filter} is a condition, {order} an ordering.
select r.*, coalesce(f.provider, r.provider) as series_provider, f.symbol, f.interval, j.kind as job_kind, j.cron as job_cron,
       j.time_zone as job_time_zone, j.provider as job_provider, j.interval as job_interval, j.index_name as job_index, {key} as order_key
from collection_runs r
left join series_facts f on f.series_id = r.series_id
left join collection_jobs j on j.job_id = r.job_id
where {filter}
order by {order}
limit $1;

-- name: held_rows_of_run
select count(*) from quarantine where run_id = $1 and state = 'HELD';

-- name: notify_collection
select pg_notify('quasar_collection', $1);

-- name: run_states_of_batch
-- `own`: made by the batch; others fetch a part of it beside what they were made for.
select batch_id is not distinct from $1 as own, state, count(*) as runs, sum(slots_done) as slots_done, sum(slots_total) as slots_total, sum(fetched) as fetched,
       sum(inserted) as inserted, sum(updated) as updated, sum(unchanged) as unchanged, sum(quarantined) as quarantined,
       sum(bytes) as bytes, sum(vendor_calls) as vendor_calls, sum(wait_s) as wait_s, sum(slots_gap) as slots_gap
from collection_runs where batch_id = $1 or (joined_batches <> '{}' and joined_batches @> array[$1]) group by own, state;

-- name: run_watermark
select watermark from collection_runs where run_id = $1;

-- name: runs_of_batch
select run_id from collection_runs
where batch_id = $1 or (joined_batches <> '{}' and joined_batches @> array[$1]) order by run_id;

-- name: run_lock
select * from collection_runs where run_id = $1 for update;

-- name: progress_of_series
select x.series_id, p.classified_from, p.classified_until, s.backfill_start, s.job_id
from unnest($1::integer[]) x(series_id)
left join series_progress p on p.series_id = x.series_id
left join subscribed_series s on s.series_id = x.series_id;

-- name: gaps_to_repair
select g.gap_id, g.series_id, g.start_time, g.end_time, g.missing_slots, g.attempts, null::timestamptz as next_attempt_at, s.provider
from gaps g join series s on s.series_id = g.series_id
where g.gap_id = any($1::bigint[]) and g.state <> 'REPAIRED' and g.end_time is not null and s.interval <> ''
for update of g;

-- name: helpers_of_gaps
-- Providers that can be asked for what is missing: their own, and unless $2 those of the same instruments.
select distinct s.provider from gaps g join series s on s.series_id = g.series_id
where g.gap_id = any($1::bigint[]) and g.state <> 'REPAIRED'
union
select c.name
from gaps g
join series_facts f on f.series_id = g.series_id and f.common_symbol <> ''
join registry.common_symbols m on lower(m.symbol) = lower(f.common_symbol)
join registry.asset_mapping am on am.common_symbol_id = m.common_symbol_id and am.active
join registry.assets a on a.asset_id = am.asset_id
join registry.code_registry c on c.code_id = a.code_id and c.kind = 'provider'
where not $2 and g.gap_id = any($1::bigint[]) and g.state <> 'REPAIRED';

-- name: operation_is_cancelled
select cancel_requested from operations where id = $1;

-- name: runs_cancel_of_batch
update collection_runs
set cancel_requested = true, updated_at = $2,
    state = case when state in ('PENDING', 'BACKING_OFF') then 'CANCELLED' else state end,
    finished_at = case when state in ('PENDING', 'BACKING_OFF') then $2 else finished_at end
where batch_id = $1 and state in ('PENDING', 'RUNNING', 'THROTTLED', 'BACKING_OFF');
