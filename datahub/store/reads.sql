-- name: plain_history
-- Whether a read of history needs neither former versions nor live bars: the common case, and the fast one.
select not exists (
    select from bar_revisions where series_id = $1 and open_time >= $2 and open_time < $3 and known_until > $4
) and ($5 or not exists (
    select from live_data where series_id = $1 and open_time >= $2 and open_time < $3
));

-- name: read_plain
select {columns} from historical_data b
where b.series_id = $1 and b.open_time >= $2 and b.open_time < $3 and b.known_at <= $4 and {filter}
order by b.open_time {direction} limit $5;

-- name: read_untouched
-- As `read_plain`, of a range in which no bar of history was ever revised; no rows at all when that is not so any more.
select {columns} from historical_data b
where b.series_id = $1 and b.open_time >= $2 and b.open_time < $3 and b.known_at <= $4 and {filter}
  and (select not exists (select from bar_revisions where series_id = $1 and open_time >= $2 and open_time < $3)
              and ({only_history} or not exists (select from live_data where series_id = $1 and open_time >= $2 and open_time < $3)))
order by b.open_time {direction} limit $5;

-- name: plain_until
-- From where on a read of history needs former versions or live bars, and from where on bars of it may have been revised; null: nowhere.
-- Former versions that are kept for less time than the bars are no evidence.
select (select min(open_time) from (
            (select open_time from bar_revisions where series_id = $1 and open_time >= $2 and open_time < $3 and known_until > $4
             order by open_time limit 1)
            union all
            (select open_time from live_data where series_id = $1 and open_time >= $2 and open_time < $3 and not $5
             order by open_time limit 1)
       ) firsts) as plain_until,
       (select case when kept.enough then (
            select open_time from bar_revisions where series_id = $1 and open_time >= $2 and open_time < $3 order by open_time limit 1
        ) else $2 end
        from (select coalesce(bool_and(r.retention is null or r.retention >= h.retention), false) as enough
              from ops.storage_tables r, ops.storage_tables h
              where r.table_name = 'datahub.bar_revisions' and h.table_name = 'datahub.historical_data') kept) as untouched_until;

-- name: hourly_bars_exist
select to_regclass('datahub.hourly_bars') is not null;

-- name: hourly_extent
-- The first stored bar of a series, and from where on a read of its history needs former versions or live bars; null: nowhere.
select (select open_time from historical_data where series_id = $1 and open_time < $3 order by open_time limit 1) as first,
       (select min(open_time) from (
            (select open_time from bar_revisions where series_id = $1 and open_time >= $2 and open_time < $3 and known_until > $4
             order by open_time limit 1)
            union all
            (select open_time from live_data where series_id = $1 and open_time >= $2 and open_time < $3 and not $5 order by open_time limit 1)
       ) firsts) as plain_until;

-- name: hourly_stale
-- Where the hours of a range are not those of the minutes.
select greatest(stale_from, $1) as stale_from, least(stale_until, $2) as stale_until
from hourly_bars_stale() where stale_from < $2 and stale_until > $1;

-- name: hourly_bars
select open_time, close_time, open, high, low, close, coalesce(volume, 'NaN'::float8), coalesce(quote_volume, 'NaN'::float8),
       coalesce(vwap, 'NaN'::float8), coalesce(trade_count, -1), known_at, revision
from hourly_bars where series_id = $1 and open_time >= $2 and open_time < $3
order by open_time;

-- name: read_versions
-- The version of each bar that was known at a time, from history and live data, the better source first. Of one open time there are at
-- most one bar of history, two live ones and three former versions: so many rows of each are enough for a page ({page} rows; null: all),
-- and a page of a long series does not sort the whole of it.
select {columns} from (
    select distinct on (open_time) * from (
        (select * from (
            select series_id, open_time, close_time, open, high, low, close, volume, known_at, source_series_id, revision, origin, trade_count,
                   vwap, quote_volume, adjusted_close, dividend, split_factor, open_interest, 0 as rank
            from historical_data where series_id = $1 and open_time >= $2 and open_time < $3 and known_at <= $4
         ) x where {source} order by open_time {direction} limit {page})
        union all
        (select * from (
            select series_id, open_time, close_time, open, high, low, close, volume, known_from as known_at, source_series_id, revision, origin, trade_count,
                   vwap, quote_volume, adjusted_close, dividend, split_factor, open_interest, case when live then origin else 0 end as rank
            from bar_revisions where series_id = $1 and open_time >= $2 and open_time < $3 and known_from <= $4 and known_until > $4
         ) x where {source} order by open_time {direction} limit 3 * {page})
        union all
        (select * from (
            select series_id, open_time, close_time, open, high, low, close, volume, known_at, source_series_id, revision, origin, trade_count,
                   vwap, quote_volume, adjusted_close, dividend, split_factor, open_interest, origin as rank
            from live_data where series_id = $1 and open_time >= $2 and open_time < $3 and known_at <= $4
         ) x where {source} order by open_time {direction} limit 2 * {page})
    ) every
    order by open_time {direction}, rank
) b
where {filter}
order by b.open_time {direction} limit $5;

-- name: first_of_last
-- Where the newest bars of a range begin. An open time has at most one bar of history and two live ones.
select min(open_time) from (
    select distinct open_time from (
        (select open_time from historical_data where series_id = $1 and open_time >= $2 and open_time < $3 order by open_time desc limit $4::bigint)
        union all
        (select open_time from live_data where series_id = $1 and open_time >= $2 and open_time < $3 order by open_time desc limit 2 * $4::bigint)
    ) every
    order by open_time desc limit $4::bigint
) newest;

-- name: recorded_series
-- Which of some series have bars of history by the ledger.
select x.series_id from unnest($1::integer[]) x(series_id)
where exists (select from coverage c where c.series_id = x.series_id and c.state in (1, 6));

-- name: stored_of_symbols
-- The bar series of some symbols that hold bars: where their history begins, and their newest bar.
select f.*, l.open_time as last_bar,
       (select h.open_time from historical_data h where h.series_id = f.series_id order by h.open_time limit 1) as first_bar
from (select distinct provider, symbol from unnest($1::text[], $2::text[]) n(provider, symbol)) n
join series_facts f on f.provider = n.provider and f.symbol = n.symbol and f.interval <> ''
join bar_last l on l.series_id = f.series_id;

-- name: classified_to
-- Whether the ledger of a series knew at a time that nothing was missing up to another one.
select exists (
    select from series_progress where series_id = $1 and classified_from <= $2 and classified_until >= $2 and updated_at <= $3
);

-- name: observed_ranges
-- Where a series has bars of history, by the ledger.
select start_time, end_time from coverage where series_id = $1 and state in (1, 6) order by start_time;

-- name: splits
select open_time, split_factor from historical_data
where series_id = $1 and split_factor is not null and split_factor <> 1 and known_at <= $2 order by open_time;

-- name: adjustable
select exists (select from historical_data where series_id = $1 and (split_factor is not null or adjusted_close is not null));

-- name: bar_revisions
select r.*, s.provider as source_provider, s.symbol as source_symbol, s.interval as source_interval
from bar_revisions r left join series s on s.series_id = r.source_series_id
where r.series_id = $1 and r.open_time >= $2 and r.open_time < $3
  and ($4::timestamptz is null or (r.known_until, r.open_time, r.revision) < ($4, $5, $6))
order by r.known_until desc, r.open_time desc, r.revision desc
limit $7;

-- name: latest_bars
select l.series_id, l.open_time, l.close_time, l.open, l.high, l.low, l.close, coalesce(l.volume, 'NaN'::float8) as volume, l.origin
from bar_last l where l.series_id = any($1::integer[]);

-- name: latest_bars_of_source
-- The newest bar of each series among those of one source.
select x.series_id, b.* from unnest($1::integer[]) x(series_id)
cross join lateral (
    select open_time, close_time, open, high, low, close, coalesce(volume, 'NaN'::float8) as volume, origin from bars v
    where v.series_id = x.series_id and v.open_time >= $3 and case $2 when 0 then not v.live else v.live and v.origin = $2 end
    order by v.open_time desc limit 1
) b;

-- name: describe_sources
-- How many bars each source has, as the view `bars` shows them, counted by one look at each table: history is not joined with anything, and
-- a live bar is looked for in history only from the first live one on.
with counted as (
    select origin, source_series_id, count(*) as rows, min(open_time) as first_time, max(open_time) as last_time,
           count(*) filter (where revision > 0) as revised,
           count(*) filter (where split_factor is not null or adjusted_close is not null) as with_factors
    from historical_data where series_id = $1
    group by 1, 2
    union all
    select l.origin, l.source_series_id, count(*), min(l.open_time), max(l.open_time), count(*) filter (where l.revision > 0), 0
    from live_data l
    left join (
        select h.open_time from historical_data h
        where h.series_id = $1 and h.open_time >= (select min(f.open_time) from live_data f where f.series_id = $1)
    ) h on h.open_time = l.open_time
    where l.series_id = $1 and h.open_time is null
      and not exists (select from live_data p where p.series_id = $1 and p.open_time = l.open_time and p.origin < l.origin)
    group by 1, 2
)
select c.origin, coalesce(s.provider, '') as provider, sum(c.rows)::bigint as rows, min(c.first_time) as first_time,
       max(c.last_time) as last_time, sum(c.revised)::bigint as revised, sum(c.with_factors)::bigint as with_factors
from counted c left join series s on s.series_id = c.source_series_id
group by 1, 2 order by 1, 2;

-- name: bytes_a_row
-- What a row of a table takes on disk, on average: of $1 in all, by the rows of the series that are counted in it; null: none is.
select (select sum(s.bytes) from storage_slices($1) s)::float8 / nullif(sum(p.rows), 0)
from series_progress p join series x on x.series_id = p.series_id where (x.interval = '') = ($1 = 'datahub.ticks');

-- name: describe_ticks
select count(*) as rows, min(event_time) as first_time, max(event_time) as last_time from ticks where series_id = $1;

-- name: describe_rest
select (select count(*) from gaps where series_id = $1 and state <> 'REPAIRED') as open_gaps,
       (select active from subscribed_series where series_id = $1) as subscribed,
       (select j.next_fire_at from subscribed_series s join collection_jobs j on j.job_id = s.job_id where s.series_id = $1) as next_due,
       (select retention from ops.storage_tables where table_name = 'datahub.historical_data') as retention;

-- name: newest_gaps
select g.*, s.provider, s.symbol, s.interval from gaps g join series s on s.series_id = g.series_id
where g.series_id = $1 and g.state <> 'REPAIRED' order by g.start_time desc limit 10;

-- name: related_series
select o.* from series_facts f join series_facts o
    on o.series_id <> f.series_id and ((f.common_symbol <> '' and o.common_symbol = f.common_symbol)
        or (o.provider = f.provider and o.symbol = f.symbol))
where f.series_id = $1
order by o.provider = f.provider, o.provider, o.interval = f.interval desc, o.interval limit 100;

-- name: search_series
-- Symbols with data, the best match first.
with matches as (
    select f.provider, f.symbol, min(f.common_symbol) as common_symbol, min(f.name) as name, min(f.exchange) as exchange,
           min(f.asset_class) as asset_class, min(f.base_currency) as base_currency, min(f.quote_currency) as quote_currency,
           array_agg(f.interval) as intervals, bool_or(f.interval = '') as has_ticks,
           bool_or(exists (select from coverage c where c.series_id = f.series_id and c.state in (1, 6))
                   or exists (select from bar_last l where l.series_id = f.series_id and l.origin in (1, 4, 5))) as has_historical,
           bool_or(coalesce(s.live and s.active, false)) as has_live,
           max(case
               when $1 = '' then 0
               when lower(f.symbol) = lower($1) or lower(f.common_symbol) = lower($1) then 1
               when starts_with(lower(f.symbol), lower($1)) or starts_with(lower(f.common_symbol), lower($1)) then 0.8
               when starts_with(lower(f.name), lower($1)) then 0.7
               when strpos(lower(f.symbol), lower($1)) > 0 or strpos(lower(f.common_symbol), lower($1)) > 0 then 0.6
               when strpos(lower(f.name), lower($1)) > 0 then 0.4
               end)::float8 as score
    from series_facts f
    left join subscribed_series s on s.series_id = f.series_id
    where f.derived_from is null
      and (exists (select from series_progress p where p.series_id = f.series_id and p.rows > 0) or s.series_id is not null
           or exists (select from bar_last l where l.series_id = f.series_id))
    group by f.provider, f.symbol
)
select *, {key} as order_key from matches m where m.score is not null and {filter} order by {order} limit $2;

-- name: series_of_symbols
-- Series of some symbols with their first and last bar.
select f.*, l.open_time as last_bar, p.rows, l.origin as last_origin,
       exists (select from live_data d where d.series_id = f.series_id and d.open_time >= $3) as has_live,
       least((select min(c.start_time) from coverage c where c.series_id = f.series_id and c.state in (1, 6)),
             (select d.open_time from live_data d where d.series_id = f.series_id order by d.open_time limit 1)) as first_bar
from unnest($1::text[], $2::text[]) n(provider, symbol)
join series_facts f on f.provider = n.provider and f.symbol = n.symbol
left join bar_last l on l.series_id = f.series_id
left join series_progress p on p.series_id = f.series_id
order by f.provider, f.symbol, f.series_id;

-- name: symbols_of_common
-- Of several symbols that a common symbol is mapped to, the one with the most data.
select distinct on (m.symbol) m.symbol as common_symbol, c.name as provider, a.symbol
from unnest($1::text[]) n(symbol)
join registry.common_symbols m on lower(m.symbol) = lower(n.symbol)
join registry.asset_mapping am on am.common_symbol_id = m.common_symbol_id and am.active
join registry.assets a on a.asset_id = am.asset_id
join registry.code_registry c on c.code_id = a.code_id and c.kind = 'provider'
where $2 = '' or lower(c.name) = lower($2)
order by m.symbol, (select coalesce(sum(p.rows), 0) from series s join series_progress p using (series_id)
                    where s.provider = c.name and s.symbol = a.symbol) desc, c.name;

-- name: symbols_of_index
select distinct coalesce(c.name, '') as provider, coalesce(a.symbol, '') as symbol, coalesce(m.symbol, '') as common_symbol
from registry.indices i
join registry.index_memberships s on s.index_id = i.index_id and s.valid_to = 'infinity'
left join registry.common_symbols m on m.common_symbol_id = s.common_symbol_id
left join registry.asset_mapping am on am.common_symbol_id = m.common_symbol_id and am.active
left join registry.assets a on a.asset_id = coalesce(s.asset_id, am.asset_id)
left join registry.code_registry c on c.code_id = a.code_id
where lower(i.name) = lower($1) and ($2 = '' or lower(c.name) = lower($2));

-- name: missing_slots
select coalesce(sum(slots), 0)::bigint from coverage
where series_id = $1 and state = any($2::integer[]) and start_time <= $4 and end_time > $3;

-- name: subscribed_symbols
select distinct f.provider, f.symbol from series_facts f join subscribed_series s on s.series_id = f.series_id
where s.active and {filter} order by f.provider, f.symbol;
