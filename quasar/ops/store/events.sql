-- name: insert_event
-- Record an event in the caller's transaction.
insert into ops.events (
    service, kind, severity, subject_type, subject_name, message, data, actor, role, request_id, run_id, run_sequence
) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
returning id;

-- name: lock_run
-- One transaction at a time numbers the events of a run, so that its sequence has no holes.
select pg_advisory_xact_lock(hashtextextended('quasar event run ' || $1, 0));

-- name: next_run_sequence
select coalesce(max(run_sequence), 0) + 1 from ops.events where run_id = $1;

-- name: notify_events
-- Delivered at commit; equal payloads of one transaction are sent once.
select pg_notify('quasar_events', '');

-- name: newest_event_ids
-- Those among the last $1 ids that are visible.
select id from ops.events where id > (select max(id) from ops.events) - $1;

-- name: event_id_bounds
select min(id) as oldest, max(id) as newest from ops.events;

-- name: event_ids_after
select id from ops.events where id > $1 order by id limit $2;

-- name: first_event_id_since
select min(id) from ops.events where time >= $1;

-- name: event_writers
-- The transactions that have inserted events, or are about to, and have not ended. See quasar.ops.event_horizon.
select distinct pid::text || ':' || virtualtransaction as writer
from pg_catalog.pg_locks
where locktype = 'relation'
    and database = (select oid from pg_catalog.pg_database where datname = current_database())
    and relation = 'ops.events'::regclass
    and mode = 'RowExclusiveLock'
    and granted;

-- name: events_between
-- What a watcher is sent; {filter} is a condition of quasar.filters with parameters from $4 on.
select * from ops.events where id > $1 and id <= $2 and {filter} order by id limit $3;

-- name: events_oldest_first
-- A page; $1: the last id of the page before, or 0; {filter} has its parameters from $3 on.
select * from ops.events where id > $1 and {filter} order by id limit $2;

-- name: events_newest_first
-- A page; $1: the last id of the page before, or null; {filter} has its parameters from $3 on.
select * from ops.events where id < coalesce($1::bigint, 9223372036854775807) and {filter} order by id desc limit $2;
