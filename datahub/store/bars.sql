-- name: lock_series
-- All writers of a series' bars and ledger take this lock first, so that what they saw holds until they commit. They may revise as many
-- bars at once as they have: TimescaleDB would refuse more than 100,000 compressed ones. Nothing else knows the setting.
select pg_advisory_xact_lock(hashtextextended('quasar.series', $1)),
       set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true);

-- name: bars_exist
select exists (
    select from historical_data where series_id = $1 and open_time >= $2 and open_time < $3
) or exists (
    select from live_data where series_id = $1 and open_time >= $2 and open_time < $3
);

-- name: bars_stored
-- Bars in a range for comparison; missing values stand as NaN and -1, so that every row has one length.
select open_time, open, high, low, close, coalesce(volume, 'NaN'::float8) as volume, revision{optional}
from historical_data where series_id = $1 and open_time >= $2 and open_time < $3
order by open_time;

-- name: bar_times
-- Open times of what is stored in a range, historical or live; those of both come twice.
select open_time from historical_data where series_id = $1 and open_time >= $2 and open_time < $3
union all
select open_time from live_data where series_id = $1 and open_time >= $2 and open_time < $3;

-- name: live_bar_times
select open_time from live_data where series_id = $1 and open_time >= $2 and open_time < $3;

-- name: revision_place
-- Where the changed rows of a transaction stand until they are applied.
create temporary table if not exists bar_changes (like historical_data including defaults) on commit delete rows;

-- name: keep_former_bars
insert into bar_revisions (
    series_id, open_time, close_time, open, high, low, close, volume, known_from, known_until, run_id, source_series_id, revision, origin,
    live, trade_count, vwap, quote_volume, adjusted_close, dividend, split_factor, open_interest, cause
)
select h.series_id, h.open_time, h.close_time, h.open, h.high, h.low, h.close, h.volume, h.known_at, $4, $5, h.source_series_id,
       h.revision, h.origin, false, h.trade_count, h.vwap, h.quote_volume, h.adjusted_close, h.dividend, h.split_factor, h.open_interest, $6
from historical_data h join bar_changes b on b.open_time = h.open_time
where h.series_id = $1 and h.open_time >= $2 and h.open_time < $3;

-- name: keeps_more
-- Whether stored bars have figures that a delivery does not tell, so that they cannot be replaced as a whole.
select exists (select from historical_data where series_id = $1 and open_time >= $2 and open_time < $3 and ({optional}));

-- name: move_former_bars
-- Take all bars of a range out and keep them as former versions: for when all of them are replaced.
with gone as (
    delete from historical_data where series_id = $1 and open_time >= $2 and open_time < $3 returning *
)
insert into bar_revisions (
    series_id, open_time, close_time, open, high, low, close, volume, known_from, known_until, run_id, source_series_id, revision, origin,
    live, trade_count, vwap, quote_volume, adjusted_close, dividend, split_factor, open_interest, cause
)
select series_id, open_time, close_time, open, high, low, close, volume, known_at, $4, $5, source_series_id, revision, origin, false,
       trade_count, vwap, quote_volume, adjusted_close, dividend, split_factor, open_interest, $6
from gone;

-- name: apply_changes
update historical_data h
set close_time = b.close_time, open = b.open, high = b.high, low = b.low, close = b.close, volume = b.volume, known_at = b.known_at,
    source_series_id = b.source_series_id, origin = b.origin, revision = h.revision + 1{optional}
from bar_changes b
where h.series_id = $1 and h.open_time >= $2 and h.open_time < $3 and b.open_time = h.open_time;

-- name: bar_last_put
-- Keep the newest bar of a series; an older one changes nothing.
insert into bar_last as t (series_id, open_time, close_time, open, high, low, close, volume, origin, known_at, previous_close)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
on conflict (series_id) do update
set open_time = excluded.open_time, close_time = excluded.close_time, open = excluded.open, high = excluded.high, low = excluded.low,
    close = excluded.close, volume = excluded.volume, origin = excluded.origin, known_at = excluded.known_at,
    previous_close = case
        when excluded.previous_close is not null then excluded.previous_close
        when excluded.open_time > t.open_time then t.close
        else t.previous_close end
where excluded.open_time >= t.open_time;

-- name: progress_add
-- Count what was stored and move the marks of a series on.
insert into series_progress as p (series_id, watermark, rows, updated_at)
values ($1, $2, $3, $4)
on conflict (series_id) do update
set watermark = greatest(p.watermark, excluded.watermark), rows = p.rows + excluded.rows, updated_at = excluded.updated_at;

-- name: progress_classified
-- The classified stretch of a series grows by a range that touches it; a range apart from it does not count.
insert into series_progress as p (series_id, classified_from, classified_until, updated_at)
values ($1, $2, $3, $4)
on conflict (series_id) do update
set classified_from = case
        when p.classified_from is null or (excluded.classified_until >= p.classified_from and excluded.classified_from < p.classified_from)
        then excluded.classified_from else p.classified_from end,
    classified_until = case
        when p.classified_until is null or (excluded.classified_from <= p.classified_until and excluded.classified_until > p.classified_until)
        then excluded.classified_until else p.classified_until end,
    updated_at = excluded.updated_at;

-- name: first_bar_time
select min(t) from (
    (select open_time t from historical_data where series_id = $1 order by open_time limit 1)
    union all
    (select open_time t from live_data where series_id = $1 order by open_time limit 1)
) firsts;
