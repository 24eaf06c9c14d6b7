-- name: maintenance_job_put
insert into collection_jobs (kind, cron, next_fire_at, created_at, updated_at) values ('MAINTENANCE', $1, $2, $2, $2)
on conflict do nothing;

-- name: maintenance_due
-- The job, if it is due or $2 wants it now. Somebody else's is left alone.
select * from collection_jobs where kind = 'MAINTENANCE' and ($2 or next_fire_at is null or next_fire_at <= $1) for update skip locked;

-- name: maintenance_broken_off
-- End runs that nobody ended.
update collection_runs set state = 'FAILED', error = $3, finished_at = $2, updated_at = $2, lease_until = null
where job_id = $1 and finished_at is null and (lease_until is null or lease_until < $2);

-- name: maintenance_begin
insert into collection_runs (
    job_id, kind, trigger, state, scheduled_for, worker, lease_until, attempts, max_attempts, created_at, started_at, updated_at
)
values ($1, 'MAINTENANCE', $2, 'RUNNING', $3, $4, $5, 1, 1, $6, $6, $6)
returning run_id, job_id;

-- name: maintenance_attempt
insert into run_attempts (run_id, attempt, worker, started_at) values ($1, 1, $2, $3);

-- name: maintenance_end
update collection_runs
set state = $2, error = $3, result = $4, finished_at = $5, updated_at = $5, lease_until = null
where run_id = $1 and finished_at is null;

-- name: maintenance_attempt_end
update run_attempts set error = $2, finished_at = $3 where run_id = $1;

-- name: maintenance_again
update collection_jobs set next_fire_at = least(next_fire_at, $2) where job_id = $1;

-- name: runs_drop
-- Runs that ended before $1, and scheduled ones that succeeded and ended before $2; $3 at a time. Returns how many went.
with past as (
    select r.run_id from collection_runs r
    where r.created_at < $2 and r.trigger <> 'INITIAL'
      and (r.finished_at < $1 or (r.finished_at < $2 and r.trigger in ('SCHEDULE', 'CATCH_UP') and r.state = 'SUCCEEDED'))
      and (r.series_id is null or exists (select from collection_runs n where n.series_id = r.series_id and n.run_id > r.run_id))
    order by r.created_at
    limit $3
),
dropped as (
    delete from collection_runs r using past where r.run_id = past.run_id returning r.run_id
)
select count(*) from dropped;
