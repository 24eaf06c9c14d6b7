-- Hourly bars of minutes, kept by TimescaleDB as a continuous aggregate. Plain PostgreSQL has none: there, and where the aggregate is
-- behind, coarser bars are computed from the minutes themselves, with the same answers.

create function ops.ensure_aggregates() returns boolean
language plpgsql security definer set search_path = pg_catalog, ops, public as $$
begin
    if (ops.storage_table('datahub.historical_data')).engine <> 'hypertable' or to_regclass('datahub.hourly_bars') is not null then
        return false;
    end if;
    -- Bars of an hour and longer gain nothing by it. Sums are not sums of nothing: a missing figure stays missing.
    execute $view$
        create materialized view datahub.hourly_bars
        with (timescaledb.continuous, timescaledb.materialized_only = false, timescaledb.create_group_indexes = true) as
        select series_id, public.time_bucket('1 hour', open_time) as open_time, max(close_time) as close_time,
               public.first(open, open_time) as open, max(high) as high, min(low) as low, public.last(close, open_time) as close,
               sum(volume) as volume, max(known_at) as known_at, max(revision) as revision, count(*) as bars,
               case when count(trade_count) = count(*) then sum(trade_count)::bigint end as trade_count,
               sum(quote_volume) as quote_volume,
               case when count(vwap) filter (where volume > 0) = count(*) filter (where volume > 0)
                    then sum(vwap * volume) filter (where volume > 0) / sum(volume) filter (where volume > 0) end as vwap
        from datahub.historical_data
        where close_time < open_time + interval '1 hour'
        group by 1, 2
        with no data
    $view$;
    -- A bar that changes makes its hour stale for every series, so that the backfill of one series is work for all of them: portions of
    -- a week, the newest first, and no more than half a year at once keep that in the background.
    begin
        perform public.add_continuous_aggregate_policy(
            'datahub.hourly_bars', start_offset => null, end_offset => interval '1 hour', schedule_interval => interval '30 minutes',
            buckets_per_batch => 168, max_batches_per_execution => 26, refresh_newest_first => true
        );
    exception when undefined_function then
        -- Older versions refresh all that is stale at once.
        perform public.add_continuous_aggregate_policy(
            'datahub.hourly_bars', start_offset => null, end_offset => interval '1 hour', schedule_interval => interval '30 minutes'
        );
    end;
    return true;
end $$;

-- Where hourly bars are not those of the minutes: not made yet, or changed since they were made. [start, end) of each range.
-- TimescaleDB shows this only in its catalog. What it notes of changes is written with them, in the same transaction.
create function datahub.hourly_bars_stale() returns table (stale_from timestamptz, stale_until timestamptz)
language plpgsql stable security definer set search_path = pg_catalog, _timescaledb_catalog as $$
declare
    view_id integer;
    raw_id  integer;
    noted   text := '
        select lowest_modified_value, greatest_modified_value from continuous_aggs_hypertable_invalidation_log where hypertable_id = $2
        union all
        select lowest_modified_value, greatest_modified_value from continuous_aggs_materialization_invalidation_log where materialization_id = $1
        union all
        select watermark, 9223372036854775807 from continuous_aggs_invalidation_threshold where hypertable_id = $2';
begin
    if to_regclass('datahub.hourly_bars') is null then
        return query select '-infinity'::timestamptz, 'infinity'::timestamptz;
        return;
    end if;
    select a.mat_hypertable_id, a.raw_hypertable_id into strict view_id, raw_id from continuous_agg a
    where a.user_view_schema = 'datahub' and a.user_view_name = 'hourly_bars';
    -- What is being made right now; older versions have no such table.
    if to_regclass('continuous_aggs_materialization_ranges') is not null then
        noted := noted || '
        union all
        select lowest_modified_value, greatest_modified_value from continuous_aggs_materialization_ranges where materialization_id = $1';
    end if;
    return query execute format($query$
        select case when lowest < -62135596800000000 then '-infinity' else to_timestamp(floor(lowest / 3600e6) * 3600) end,
               case when greatest > 253402300799000000 then 'infinity' else to_timestamp(floor(greatest / 3600e6) * 3600 + 3600) end
        from (%s) noted (lowest, greatest)
    $query$, noted) using view_id, raw_id;
end $$;

revoke execute on function ops.ensure_aggregates(), datahub.hourly_bars_stale() from public;
