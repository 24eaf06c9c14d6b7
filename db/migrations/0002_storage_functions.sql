-- Time partitions. Services may not change tables; these functions do it for them, with the owner's rights, for registered tables only.
-- Where TimescaleDB keeps the table its own functions take over, and the same calls stay valid.

create function ops.register_storage(
    of_table text, time_column text, step text, segment_by text, order_by text, coarse_before timestamptz default null
) returns void language sql as $$
    insert into ops.storage_tables (table_name, time_column, step, segment_by, order_by, coarse_before)
    values (of_table, time_column, step, segment_by, order_by, coarse_before)
$$;

create function ops.storage_table(of_table text) returns ops.storage_tables language plpgsql stable as $$
declare
    found ops.storage_tables;
begin
    select * into found from ops.storage_tables s where s.table_name = of_table;
    if not found.table_name is not null then
        raise exception 'table % must be one of the time-partitioned tables', of_table using errcode = 'undefined_table';
    end if;
    return found;
end $$;

-- The partition that a time falls in.
create function ops.slice_step(of_table ops.storage_tables, at timestamptz) returns text language sql stable as $$
    select case when at < of_table.coarse_before then 'year' else of_table.step end
$$;

create function ops.slice_start(of_table ops.storage_tables, at timestamptz) returns timestamptz language sql stable as $$
    select date_trunc(ops.slice_step(of_table, at), at, 'UTC')
$$;

create function ops.slice_end(of_table ops.storage_tables, slice_start timestamptz) returns timestamptz language sql stable as $$
    -- Arithmetic on months and days follows the session's time zone; here it must be UTC whatever that is.
    select ((slice_start at time zone 'UTC') + ('1 ' || ops.slice_step(of_table, slice_start))::interval) at time zone 'UTC'
$$;

create function ops.slice_name(of_table ops.storage_tables, slice_start timestamptz) returns text language sql stable as $$
    select split_part(of_table.table_name, '.', 2) || '_p' || to_char(
        slice_start at time zone 'UTC',
        case ops.slice_step(of_table, slice_start)
            when 'year' then 'YYYY' when 'month' then 'YYYY_MM' when 'hour' then 'YYYY_MM_DD_HH24' else 'YYYY_MM_DD' end)
$$;

-- About how many partitions a range covers; a time that is wrong by centuries must not make them all.
create function ops.slice_count(of_table ops.storage_tables, range_start timestamptz, range_end timestamptz) returns bigint
language sql stable as $$
    select (extract(epoch from range_end - fine.start) / extract(epoch from ('1 ' || of_table.step)::interval)
            + extract(epoch from fine.start - range_start) / extract(epoch from interval '1 year'))::bigint
    from (select least(greatest(range_start, of_table.coarse_before), range_end) as start) fine
$$;

-- Make the partitions that cover [range_start, range_end) and return how many were new.
create function ops.ensure_partitions(of_table text, range_start timestamptz, range_end timestamptz) returns integer
language plpgsql security definer set search_path = pg_catalog, ops as $$
declare
    most  constant integer := 4000;
    kept  ops.storage_tables := ops.storage_table(of_table);
    home  text := split_part(of_table, '.', 1);
    lower timestamptz;
    upper timestamptz;
    part  text;
    made  integer := 0;
begin
    if not (isfinite(range_start) and isfinite(range_end)) or range_start >= range_end then
        raise exception 'the range must be finite and not empty, was [%, %)', range_start, range_end using errcode = 'invalid_parameter_value';
    end if;
    if range_start < '0001-01-01 00:00:00+00' then
        raise exception 'the range must not start before the year 1, was %', range_start using errcode = 'invalid_parameter_value';
    end if;
    if kept.engine = 'hypertable' then
        return 0;
    end if;
    if ops.slice_count(kept, range_start, range_end) > most then
        raise exception 'the range [%, %) would need more than % partitions of %', range_start, range_end, most, of_table
            using errcode = 'program_limit_exceeded', hint = 'store it in smaller parts, or correct its times';
    end if;
    perform pg_advisory_xact_lock(hashtextextended('quasar.storage:' || of_table, 0));
    -- Read again: while this call waited the table may have become a hypertable.
    kept := ops.storage_table(of_table);
    if kept.engine = 'hypertable' then
        return 0;
    end if;
    lower := ops.slice_start(kept, range_start);
    while lower < range_end loop
        upper := ops.slice_end(kept, lower);
        part := ops.slice_name(kept, lower);
        if to_regclass(format('%I.%I', home, part)) is null then
            -- ATTACH lets readers and writers of the other partitions go on; CREATE … PARTITION OF would stop them.
            execute format('create table %I.%I (like %s including all)', home, part, of_table);
            execute format('alter table %s attach partition %I.%I for values from (%L) to (%L)', of_table, home, part, lower, upper);
            made := made + 1;
        end if;
        lower := upper;
    end loop;
    return made;
end $$;

-- The partitions or chunks of a table.
create function ops.storage_slices(of_table text)
returns table (slice_name text, slice_start timestamptz, slice_end timestamptz, compressed boolean, bytes bigint)
language plpgsql stable security definer set search_path = pg_catalog, ops, public as $$
declare
    kept ops.storage_tables := ops.storage_table(of_table);
begin
    if kept.engine = 'hypertable' then
        return query execute format(
            'select format(''%%I.%%I'', c.chunk_schema, c.chunk_name), c.range_start, c.range_end, c.is_compressed, d.total_bytes
             from timescaledb_information.chunks c
             left join chunks_detailed_size(%L) d on d.chunk_schema = c.chunk_schema and d.chunk_name = c.chunk_name
             where format(''%%I.%%I'', c.hypertable_schema, c.hypertable_name) = %L
             order by c.range_start', of_table, of_table);
        return;
    end if;
    return query
        select format('%I.%I', n.nspname, c.relname),
               (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([^'']+)''\)'))[1]::timestamptz,
               (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \(''([^'']+)''\)'))[1]::timestamptz,
               false,
               pg_total_relation_size(c.oid)
        from pg_inherits i
        join pg_class c on c.oid = i.inhrelid
        join pg_namespace n on n.oid = c.relnamespace
        where i.inhparent = of_table::regclass
        order by 2;
end $$;

-- Drop the partitions that end at or before a time, and return how many there were.
create function ops.drop_older_than(of_table text, before timestamptz) returns integer
language plpgsql security definer set search_path = pg_catalog, ops, public as $$
declare
    kept    ops.storage_tables := ops.storage_table(of_table);
    slice   record;
    dropped integer := 0;
begin
    if kept.engine = 'hypertable' then
        execute format('select count(*) from drop_chunks(%L::regclass, older_than => %L::timestamptz)', of_table, before) into dropped;
        return dropped;
    end if;
    perform pg_advisory_xact_lock(hashtextextended('quasar.storage:' || of_table, 0));
    for slice in select s.slice_name from ops.storage_slices(of_table) s where s.slice_end <= before loop
        execute format('drop table %s', slice.slice_name);
        dropped := dropped + 1;
    end loop;
    return dropped;
end $$;

-- Set how long rows are kept (null: for ever). TimescaleDB gets a policy; elsewhere the DataHub calls ops.apply_retention.
create function ops.set_retention(of_table text, keep interval) returns void
language plpgsql security definer set search_path = pg_catalog, ops, public as $$
declare
    kept ops.storage_tables := ops.storage_table(of_table);
begin
    if keep is not null and keep <= interval '0' then
        raise exception 'the retention must be longer than nothing, was %', keep using errcode = 'invalid_parameter_value';
    end if;
    update ops.storage_tables s set retention = keep, updated_at = now() where s.table_name = of_table;
    if kept.engine = 'hypertable' then
        execute format('select remove_retention_policy(%L::regclass, if_exists => true)', of_table);
        if keep is not null then
            execute format('select add_retention_policy(%L::regclass, %L::interval)', of_table, keep);
        end if;
    end if;
end $$;

create function ops.apply_retention(of_table text, at timestamptz) returns integer
language plpgsql security definer set search_path = pg_catalog, ops as $$
declare
    kept ops.storage_tables := ops.storage_table(of_table);
begin
    if kept.engine = 'hypertable' or kept.retention is null then
        return 0;
    end if;
    return ops.drop_older_than(of_table, at - kept.retention);
end $$;

-- Set after what time rows are compressed (null: never). Plain PostgreSQL remembers the wish for the day TimescaleDB arrives.
create function ops.set_compression(of_table text, after interval) returns boolean
language plpgsql security definer set search_path = pg_catalog, ops, public as $$
declare
    kept ops.storage_tables := ops.storage_table(of_table);
begin
    if after is not null and after <= interval '0' then
        raise exception 'the age must be more than nothing, was %', after using errcode = 'invalid_parameter_value';
    end if;
    update ops.storage_tables s set compress_after = after, updated_at = now() where s.table_name = of_table;
    if kept.engine <> 'hypertable' then
        return false;
    end if;
    execute format('call remove_columnstore_policy(%L::regclass, if_exists => true)', of_table);
    if after is not null then
        execute format(
            'alter table %s set (timescaledb.enable_columnstore, timescaledb.segmentby = %L, timescaledb.orderby = %L)',
            of_table, kept.segment_by, kept.order_by);
        execute format('call add_columnstore_policy(%L::regclass, after => %L::interval)', of_table, after);
    end if;
    return true;
end $$;

-- Forget events that are older than an operator wants to keep.
create function ops.prune_events(before timestamptz) returns bigint
language plpgsql security definer set search_path = pg_catalog, ops as $$
declare
    pruned bigint;
begin
    delete from ops.events e where e.time < before;
    get diagnostics pruned = row_count;
    return pruned;
end $$;

-- Functions are executable by everybody unless that is taken back.
revoke execute on all functions in schema ops from public;
