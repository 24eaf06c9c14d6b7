-- name: events_record_all
-- Many events of one transaction; $2 to $7 are one array a column.
with recorded as (
    insert into ops.events (service, kind, message, subject_type, subject_name, severity, data, actor, role, request_id)
    select $1, e.kind, e.message, e.subject_type, e.subject_name, e.severity, e.data, $8, $9, $10
    from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::jsonb[])
        with ordinality as e (kind, message, subject_type, subject_name, severity, data, place)
    order by e.place
    returning 1
)
select pg_notify('quasar_events', '') where exists (select from recorded);
