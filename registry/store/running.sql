-- name: running_lock
-- Operations of the registry that exclude each other begin one after the other.
select pg_advisory_xact_lock(hashtextextended('registry operations begin', 0));

-- name: running_find
-- An operation under way of one of the kinds ($2) about its subject ($3; empty: any), the oldest first.
select o.id, o.kind, o.subject_name
from ops.operations o
join unnest($2::text[], $3::text[]) as c (kind, subject) on o.kind = c.kind and (c.subject = '' or o.subject_name = c.subject)
where o.service = $1 and o.state in ('PENDING', 'RUNNING') and not o.cancel_requested
order by o.created_at limit 1;

-- name: running_repeat
select id from ops.operations where service = $1 and kind = $2 and request_id = $3;
