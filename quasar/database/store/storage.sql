-- name: storage_tables
select table_name, time_column, step, coarse_before, segment_by, order_by, engine, retention, compress_after
from ops.storage_tables order by table_name;

-- name: policies
select s.retention, s.compress_after from ops.storage_table($1) s;

-- name: engines
select table_name, engine from ops.storage_tables order by table_name;

-- name: server_version
select current_setting('server_version');

-- name: installed_extensions
select extname as name, extversion as version from pg_extension;

-- name: database_size
select pg_database_size(current_database());

-- name: ensure_partitions
select ops.ensure_partitions($1, $2, $3);

-- name: slices
select slice_name, slice_start, slice_end, compressed, coalesce(bytes, 0) as bytes from ops.storage_slices($1);

-- name: drop_older_than
select ops.drop_older_than($1, $2);

-- name: set_retention
select ops.set_retention($1, $2);

-- name: apply_retention
select ops.apply_retention($1, $2);

-- name: set_compression
select ops.set_compression($1, $2);

-- name: create_timescaledb
create extension if not exists timescaledb schema public;

-- name: upgrade_lock
-- The same lock as the one that makes partitions.
select pg_advisory_xact_lock(hashtextextended('quasar.storage:' || $1, 0));

-- name: dependent_views
-- The views that read a table, the ones that read other views last, with what is needed to make them again.
with recursive dependents (view, depth) as (
    select distinct r.ev_class, 1
    from pg_depend d join pg_rewrite r on r.oid = d.objid
    where d.refobjid = $1::text::regclass and d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass
      and r.ev_class <> d.refobjid
    union
    select r.ev_class, p.depth + 1
    from dependents p
    join pg_depend d on d.refobjid = p.view and d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass
    join pg_rewrite r on r.oid = d.objid and r.ev_class <> p.view
)
select format('%I.%I', n.nspname, c.relname) as name,
       pg_get_viewdef(c.oid) as definition,
       obj_description(c.oid, 'pg_class') as comment
from (select view, max(depth) as depth from dependents group by view) v
join pg_class c on c.oid = v.view
join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'v'
order by v.depth, name;

-- name: table_comment
select obj_description($1::text::regclass, 'pg_class');

-- name: comment_text
select format('comment on %s %s is %L', $1::text, $2::text, $3::text);

-- name: begin_upgrade
-- The partitioned table steps aside, and a table of the same shape takes its name.
lock table {table} in access exclusive mode;
alter table {table} rename to {aside};
create table {table} (like {schema}.{aside} including all);
select create_hypertable('{table}'::regclass, by_range('{time_column}', interval '{step}'), create_default_indexes => false);

-- name: move_slice
-- A partition becomes a chunk where it is; not a row is copied.
alter table {schema}.{aside} detach partition {slice};
call attach_chunk('{table}'::regclass, '{slice}'::regclass, '{{"{time_column}": ["{start}", "{end}"]}}'::jsonb);

-- name: end_upgrade
drop table {schema}.{aside};
update ops.storage_tables set engine = 'hypertable', updated_at = now() where table_name = '{table}';
select ops.set_retention(table_name, retention), ops.set_compression(table_name, compress_after)
from ops.storage_tables where table_name = '{table}';

-- name: ensure_aggregates
select ops.ensure_aggregates();
