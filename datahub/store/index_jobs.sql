-- name: index_jobs_put
-- Take over when the registry's provider indices are due. A job that fired for a time fires again for another one only.
insert into collection_jobs as j (kind, provider, index_name, cron, time_zone, next_fire_at, settings, created_at, updated_at)
select 'INDEX_SYNC', w.provider, w.name, w.cron, w.time_zone, w.next_sync_at, jsonb_build_object('due', extract(epoch from w.next_sync_at)), $2, $2
from registry.index_schedules w
where $1 = '' or lower(w.provider) = lower($1)
on conflict (provider, index_name) where kind = 'INDEX_SYNC' do update
set cron = excluded.cron, time_zone = excluded.time_zone, settings = excluded.settings, updated_at = excluded.updated_at,
    revision = j.revision + 1,
    next_fire_at = case when j.settings is distinct from excluded.settings then excluded.next_fire_at else j.next_fire_at end
where (j.cron, j.time_zone, j.settings) is distinct from (excluded.cron, excluded.time_zone, excluded.settings);

-- name: index_jobs_drop
-- Forget the jobs of indices that are gone, and stop what they have begun.
with gone as (
    delete from collection_jobs j
    where j.kind = 'INDEX_SYNC' and ($1 = '' or lower(j.provider) = lower($1))
      and not exists (select from registry.index_schedules w where w.provider = j.provider and w.name = j.index_name)
    returning j.provider, j.index_name
)
update collection_runs r
set cancel_requested = true, updated_at = $2,
    state = case when r.state in ('PENDING', 'BACKING_OFF') then 'CANCELLED' else r.state end,
    finished_at = case when r.state in ('PENDING', 'BACKING_OFF') then $2 else r.finished_at end
from gone
where r.kind = 'INDEX_SYNC' and r.provider = gone.provider and r.index_name = gone.index_name
  and r.state in ('PENDING', 'RUNNING', 'THROTTLED', 'BACKING_OFF');

-- name: index_jobs_take
-- Some jobs of index syncs, held until the transaction ends: of each index one sync begins at a time.
select job_id, provider, index_name from collection_jobs where kind = 'INDEX_SYNC' and job_id = any($1::bigint[]) order by job_id for update;

-- name: index_jobs_of
select job_id, provider from collection_jobs where kind = 'INDEX_SYNC' and ($1 = '' or provider = $1) and ($2::bigint is null or job_id = $2);

-- name: index_job_of
select job_id from collection_jobs where kind = 'INDEX_SYNC' and provider = $1 and index_name = $2;

-- name: index_sync_active
-- The sync of an index that has not ended; with $3 one that waits for its provider to be resumed does not count.
select run_id from collection_runs
where kind = 'INDEX_SYNC' and provider = $1 and index_name = $2 and state in ('PENDING', 'RUNNING', 'THROTTLED', 'BACKING_OFF')
  and (not $3 or trigger = 'MANUAL' or state in ('RUNNING', 'THROTTLED'))
order by run_id
limit 1;

-- name: index_sync_insert
insert into collection_runs (
    job_id, kind, trigger, provider, index_name, scheduled_for, batch_id, max_attempts, created_at, updated_at
)
values ($1, 'INDEX_SYNC', $2, $3, $4, $5, $6, $7, $8, $8)
on conflict do nothing
returning run_id;

-- name: index_sync_stop
-- A sync that has begun in the registry and that nobody follows now is taken up to be stopped there.
update collection_runs set cancel_requested = true, next_attempt_at = $2, updated_at = $2
where run_id = $1 and kind = 'INDEX_SYNC' and state in ('PENDING', 'BACKING_OFF') and checkpoint <> '{}'
returning run_id;

-- name: index_sync_checkpoint
select checkpoint from collection_runs where run_id = $1;

-- name: index_sync_begun
-- Remember the operation that does a sync; nothing happens when the run is somebody else's now.
update collection_runs set checkpoint = $4, updated_at = $5
where run_id = $1 and worker = $2 and attempts = $3 and state in ('RUNNING', 'THROTTLED')
returning run_id;
