-- name: insert_operation
-- Nothing is returned when the request id was used before.
insert into ops.operations (service, kind, subject_type, subject_name, request, request_id, actor, role, detail)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
on conflict (service, kind, request_id) where request_id is not null do nothing
returning *;

-- name: operation_by_request
select * from ops.operations where service = $1 and kind = $2 and request_id = $3;

-- name: operation_by_id
select * from ops.operations where service = $1 and id = $2;

-- name: operations_newest_first
-- A page; $2, $3: creation time and id of the last one of the page before, or null; {filter} has its parameters from $5 on.
select * from ops.operations
where service = $1
    and (created_at, id) < (coalesce($2::timestamptz, 'infinity'), coalesce($3::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
    and {filter}
order by created_at desc, id desc
limit $4;

-- name: request_cancel
-- One that nobody has taken ends at once; one that has ended is left alone.
update ops.operations set
    cancel_requested = true,
    updated_at = now(),
    state = case when state = 'PENDING' then 'CANCELLED' else state end,
    finished_at = case when state = 'PENDING' then now() end
where service = $1 and id = $2 and state in ('PENDING', 'RUNNING') and not cancel_requested
returning *;

-- name: claim_operation
-- Take the oldest one that waits, or whose worker's lease has run out; `lost` counts how often that was so in a row.
update ops.operations o set
    state = 'RUNNING',
    worker = $3,
    lease_until = now() + $4,
    attempts = o.attempts + 1,
    started_at = coalesce(o.started_at, now()),
    updated_at = now(),
    detail = case when o.state = 'RUNNING'
        then o.detail || jsonb_build_object('lost', coalesce((o.detail ->> 'lost')::int, 0) + 1)
        else o.detail end
where o.id = (
    select id from ops.operations
    where service = $1 and kind = any($2::text[])
        and (state = 'PENDING' or (state = 'RUNNING' and lease_until < now()))
    order by created_at
    limit 1
    for update skip locked
)
returning *;

-- name: renew_leases
-- What is not returned is not ours any more.
update ops.operations set lease_until = now() + $2
where worker = $1 and state = 'RUNNING' and id = any($3::uuid[])
returning id, cancel_requested;

-- name: workers_with_leases
select distinct worker from ops.operations
where service = $1 and state = 'RUNNING' and lease_until > now() and worker is not null;

-- name: end_leases
update ops.operations set lease_until = now()
where service = $1 and state = 'RUNNING' and worker = any($2::text[]);

-- name: write_progress
update ops.operations set
    phase = $4, done = $5, total = $6, unit = $7, wait_s = $8, detail = detail || $9, updated_at = now()
where id = $1 and worker = $2 and attempts = $3 and state = 'RUNNING'
returning true;

-- name: write_checkpoint
-- Progress was made, so losing the worker counts from zero again.
update ops.operations set checkpoint = $4, detail = detail - 'lost', updated_at = now()
where id = $1 and worker = $2 and attempts = $3 and state = 'RUNNING'
returning true;

-- name: finish_operation
update ops.operations set
    state = $4, result = $5, error = $6, finished_at = now(), updated_at = now(), worker = null, lease_until = null,
    detail = detail - 'lost' - 'remaining_s'
where id = $1 and worker = $2 and attempts = $3 and state = 'RUNNING'
returning *;

-- name: release_operation
-- Hand it back, to be resumed from its checkpoint.
update ops.operations set
    state = 'PENDING', worker = null, lease_until = null, updated_at = now(), detail = detail || $4
where id = $1 and worker = $2 and attempts = $3 and state = 'RUNNING'
returning true;

-- name: notify_operations
-- The payload is `work` (something to take or to cancel) or `change`, and the id.
select pg_notify('quasar_operations', $1);
