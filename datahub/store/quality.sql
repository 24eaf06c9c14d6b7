-- name: quality_want
-- Have what a run brought checked; what waits already grows.
insert into quality_checks as q (series_id, due_at, since, until, sweep_at)
values ($1, $4, $2, $3, $5)
on conflict (series_id) do update
set due_at = least(q.due_at, excluded.due_at), since = least(q.since, excluded.since), until = greatest(q.until, excluded.until);

-- name: quality_enrol
-- Series with bars that nobody has checked so far.
insert into quality_checks (series_id, due_at, sweep_at)
select p.series_id, $1, $1 from series_progress p join series s on s.series_id = p.series_id
where s.interval <> '' and p.rows > 0 and not exists (select from quality_checks q where q.series_id = p.series_id)
on conflict do nothing;

-- name: quality_claim
-- Take the series that waits longest; when nobody finishes it, it is due again after the lease.
update quality_checks set due_at = $2
where series_id = (select series_id from quality_checks where due_at <= $1 order by due_at limit 1 for update skip locked)
returning *;

-- name: quality_done
-- What came while it was checked stays wanted.
update quality_checks
set since = case when (since, until) is not distinct from ($2, $3) then null else since end,
    until = case when (since, until) is not distinct from ($2, $3) then null else until end,
    due_at = case when (since, until) is not distinct from ($2, $3) then coalesce($4, sweep_at) else least(due_at, $5) end,
    sweep_at = coalesce($4, sweep_at),
    swept_until = $6,
    swept_at = coalesce($7, swept_at),
    checked_from = coalesce($8, checked_from),
    checked_at = case when $8::timestamptz is null then checked_at else $5 end
where series_id = $1;

-- name: quality_extent
-- What there is of a series: what its ledger covers, and its bars.
select p.classified_from, p.classified_until, p.rows,
       (select min(t) from (
            (select open_time t from historical_data where series_id = $1 order by open_time limit 1)
            union all
            (select open_time t from live_data where series_id = $1 order by open_time limit 1)) firsts) as first_bar,
       (select max(t) from (
            (select open_time t from historical_data where series_id = $1 order by open_time desc limit 1)
            union all
            (select open_time t from live_data where series_id = $1 order by open_time desc limit 1)) lasts) as last_bar,
       (select min(retention) from ops.storage_tables where table_name in ('datahub.historical_data', 'datahub.live_data')) as retention,
       exists (select from subscribed_series s where s.series_id = $1 and s.active and s.historical) as subscribed
from series_progress p where p.series_id = $1;

-- name: quality_context
-- Where the bars before a range begin that say what is usual, and the first bar after it, which says whether the last one turned back.
select (select min(open_time) from (
            select open_time from historical_data where series_id = $1 and open_time < $2 order by open_time desc limit $4) before) as first,
       (select open_time from historical_data where series_id = $1 and open_time >= $3 order by open_time limit 1) as following;

-- name: quality_bars
select open_time, close_time, open, high, low, close, coalesce(volume, 'NaN'::float8) as volume,
       coalesce(split_factor, 'NaN'::float8) as split_factor, coalesce(dividend, 'NaN'::float8) as dividend
from bars where series_id = $1 and open_time >= $2 and open_time < $3
order by open_time;

-- name: quality_live_bars
select open_time, close_time, open, high, low, close, coalesce(volume, 'NaN'::float8) as volume,
       coalesce(split_factor, 'NaN'::float8) as split_factor, coalesce(dividend, 'NaN'::float8) as dividend
from live_data where series_id = $1 and open_time >= $2 and open_time < $3 and origin = $4
order by open_time;

-- name: quality_ledger
select start_time, end_time, state, slots, source_series_id from coverage
where series_id = $1 and start_time < $3 and end_time > $2 order by start_time;

-- name: quality_held
select row_time, count(*)::integer as rows, min(reason) as reason, min(detail) as detail from quarantine
where provider = $1 and symbol = $2 and interval = $3 and state = 'HELD' and row_time >= $4 and row_time < $5
group by row_time order by row_time;

-- name: quality_forget
-- Findings of a range that are none any more.
delete from quality_findings f
where f.series_id = $1 and f.start_time >= $2 and f.start_time < $3
  and not exists (select from unnest($4::text[], $5::timestamptz[]) n(kind, start_time) where n.kind = f.kind and n.start_time = f.start_time);

-- name: quality_put
-- Store findings; those that stand as they are stay as they are. Returns the kinds of those that are new, with how many bars.
with put as (
    insert into quality_findings as f (
        series_id, kind, session_date, start_time, end_time, bars, observed, expected, bound, other_series_id, message, detected_at
    )
    select $1, n.* , $12
    from unnest($2::text[], $3::date[], $4::timestamptz[], $5::timestamptz[], $6::integer[], $7::float8[], $8::float8[], $9::float8[],
                $10::integer[], $11::text[])
        n(kind, session_date, start_time, end_time, bars, observed, expected, bound, other, message)
    on conflict (series_id, kind, start_time) do update
    set session_date = excluded.session_date, end_time = excluded.end_time, bars = excluded.bars, observed = excluded.observed,
        expected = excluded.expected, bound = excluded.bound, other_series_id = excluded.other_series_id, message = excluded.message
    where (f.end_time, f.bars, f.message) is distinct from (excluded.end_time, excluded.bars, excluded.message)
    returning kind, bars, xmax = 0 as fresh
)
select kind, count(*)::integer as findings, sum(bars)::bigint as bars from put where fresh group by kind order by kind;

-- name: quality_rows
-- Findings with their series. {filter} is a condition, {order} an ordering.
select q.*, f.provider, f.symbol, f.interval, {key} as order_key
from quality_findings q join series_facts f on f.series_id = q.series_id
where {filter} order by {order} limit $1;

-- name: quality_series
-- Series of a report with how much was found in a range. $1 are the series, null: those that are subscribed.
with chosen as (
    select n.series_id from unnest($1::integer[]) n(series_id)
    union
    select s.series_id from subscribed_series s join series x on x.series_id = s.series_id
    where $1 is null and s.active and x.interval <> ''
), counted as (
    select c.series_id, coalesce(sum(q.bars), 0)::bigint as found
    from chosen c
    left join quality_findings q on q.series_id = c.series_id and q.start_time < $3 and q.end_time > $2 and q.kind = any($4::text[])
    group by c.series_id
)
select c.series_id, c.found, k.checked_at, k.checked_from, k.swept_at, {key} as order_key
from counted c left join quality_checks k on k.series_id = c.series_id
where ($5 or c.found > 0) and {filter} order by {order} limit $6;

-- name: quality_days
select series_id, session_date, kind, sum(bars)::bigint as bars from quality_findings
where series_id = any($1::integer[]) and start_time < $3 and end_time > $2 and kind = any($4::text[])
group by series_id, session_date, kind order by series_id, session_date, kind;

-- name: quality_totals
-- What was found in all series of a report.
select q.kind, sum(q.bars)::bigint as bars from quality_findings q
where q.start_time < $3 and q.end_time > $2 and q.kind = any($4::text[])
  and case when $1::integer[] is null
      then exists (select from subscribed_series s where s.series_id = q.series_id and s.active) else q.series_id = any($1) end
group by q.kind order by q.kind;

-- name: quality_ledgers
select series_id, start_time, end_time, state, slots, source_series_id from coverage
where series_id = any($1::integer[]) and start_time < $3 and end_time > $2 order by series_id, start_time;

-- name: quality_bar_series
-- Series of bars of some symbols.
select s.series_id, s.provider, s.symbol from unnest($1::text[], $2::text[]) n(provider, symbol)
join series s on s.provider = n.provider and s.symbol = n.symbol and s.interval <> '';
