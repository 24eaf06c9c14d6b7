-- name: live_wanted
-- What live data is subscribed: bar series and, by an empty interval, ticks alone. What somebody paused is there with the reason.
select s.provider, s.symbol, s.interval, w.store_ticks, w.historical, w.tick_kinds,
       case when p.provider is null then '' else 'The provider is paused' || coalesce(': ' || nullif(p.reason, ''), '') end as paused
from subscribed_series w join series s using (series_id)
left join provider_pauses p on lower(p.provider) = lower(s.provider)
where w.live and w.active
union all
select c.name, y.symbol, s.interval, s.store_ticks, s.historical, s.tick_kinds, 'Its subscription is paused'
from registry.provider_subscription s
join registry.code_registry c on c.code_id = s.code_id and c.deleted_at is null
join registry.subscription_symbols y on y.subscription_id = s.subscription_id
where s.live and s.state = 'PAUSED'
order by 1, 2, 3;

-- name: tick_ends
-- Where the stored ticks of some series end: the last sequence of any kind, and the last trade.
select n.series_id, coalesce(p.last_sequence, 0) as sequence, p.watermark, t.event_time, t.event_ns, t.trade_id
from unnest($1::integer[]) n(series_id)
left join series_progress p on p.series_id = n.series_id
left join lateral (
    select k.event_time, k.event_ns, k.trade_id from ticks k
    where k.series_id = n.series_id and k.kind = 1 order by k.event_time desc, k.sequence desc limit 1
) t on true;

-- name: ticks_stored_last
-- The last stored tick of some series, where it says when it was published.
select n.series_id, t.event_time, t.event_ns, t.publish_time
from unnest($1::integer[]) n(series_id)
cross join lateral (
    select k.event_time, k.event_ns, k.publish_time from ticks k
    where k.series_id = n.series_id order by k.event_time desc, k.sequence desc limit 1
) t
where t.publish_time is not null;

-- name: live_standing
-- How far live bars of some series are: the last one, and for bars that trades fill the tick that filled it.
select n.series_id, p.last_sequence, p.watermark, l.open_time as last_open
from unnest($1::integer[]) n(series_id)
left join series_progress p on p.series_id = n.series_id
left join lateral (
    select d.open_time from live_data d where d.series_id = n.series_id and d.origin = 3 order by d.open_time desc limit 1
) l on true;

-- name: live_complete_from
-- Whether ticks of a series go back beyond a time, and where the last hole after it that nobody filled ends.
select n.series_id, exists (select from ticks t where t.series_id = n.series_id and t.kind = 1 and t.event_time < n.since) as older,
       (select max(g.end_time) from gaps g
        where g.series_id = n.series_id and g.state = 'UNREPAIRABLE' and g.end_time >= n.since) as hole_end
from unnest($1::integer[], $2::timestamptz[]) n(series_id, since);

-- name: live_past
-- Trades since a time of each series, and those after a number from another time on, in the order of their numbers.
select t.series_id, t.event_time, t.event_ns, t.sequence, t.flags, coalesce(t.price, 'NaN'::float8) as price,
       coalesce(t.size, 'NaN'::float8) as size
from unnest($1::integer[], $2::timestamptz[], $3::bigint[], $4::timestamptz[]) n(series_id, since, number, earliest)
join ticks t on t.series_id = n.series_id
where t.kind = 1 and t.event_time >= n.earliest and (t.event_time >= n.since or t.sequence > n.number)
  and t.event_time >= (select min(e) from unnest($4::timestamptz[]) e)
order by t.series_id, t.sequence;

-- name: live_complete_of
-- The same for several times of a series, in their order, with the first trade since then.
select exists (select from ticks t where t.series_id = n.series_id and t.kind = 1 and t.event_time < n.since) as older,
       (select min(t.event_time) from ticks t where t.series_id = n.series_id and t.kind = 1 and t.event_time >= n.since) as first,
       (select max(g.end_time) from gaps g
        where g.series_id = n.series_id and g.state = 'UNREPAIRABLE' and g.end_time >= n.since) as hole_end
from unnest($1::integer[], $2::timestamptz[]) with ordinality n(series_id, since, place)
order by n.place;

-- name: live_sums
-- What the trades of ranges come to, but for those that `live_past` returns; the flag 8 marks trades that count for no bar.
select a.*, f.event_time as first_time, f.event_ns as first_ns, f.price as open, l.event_time as last_time, l.event_ns as last_ns,
       l.price as close
from unnest($1::integer[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[], $5::bigint[], $6::timestamptz[])
    with ordinality n(series_id, begun, ended, since, number, earliest, place)
cross join lateral (
    select count(*) as count, max(t.price) as high, min(t.price) as low, sum(coalesce(t.size, 0)) as volume,
           sum(t.price * coalesce(t.size, 0)) as value
    from ticks t
    where t.series_id = n.series_id and t.kind = 1 and t.price is not null and t.flags & 8 = 0
      and t.event_time >= n.begun and t.event_time < n.ended
      and not (t.event_time >= n.earliest and (t.event_time >= n.since or t.sequence > n.number))
) a
left join lateral (
    select t.event_time, t.event_ns, t.price from ticks t
    where t.series_id = n.series_id and t.kind = 1 and t.price is not null and t.flags & 8 = 0
      and t.event_time >= n.begun and t.event_time < n.ended
      and not (t.event_time >= n.earliest and (t.event_time >= n.since or t.sequence > n.number))
    order by t.event_time, t.event_ns, t.sequence limit 1
) f on a.count > 0
left join lateral (
    select t.event_time, t.event_ns, t.price from ticks t
    where t.series_id = n.series_id and t.kind = 1 and t.price is not null and t.flags & 8 = 0
      and t.event_time >= n.begun and t.event_time < n.ended
      and not (t.event_time >= n.earliest and (t.event_time >= n.since or t.sequence > n.number))
    order by t.event_time desc, t.event_ns desc, t.sequence desc limit 1
) l on a.count > 0
order by n.place;

-- name: feed_gaps_open
-- The newest hole of each series of ticks that still grows.
select distinct on (g.series_id) g.gap_id, g.series_id, g.start_time, g.cause, g.attempts, g.detected_at from gaps g
where g.series_id = any($1::integer[]) and g.state = 'OPEN' and g.end_time is null
order by g.series_id, g.gap_id desc;

-- name: feed_lease_take
-- Take the lease of a provider's feed for this session; false: another one has it.
select pg_try_advisory_lock(hashtextextended('quasar.feed', 0)::bigint # hashtextextended($1::text, 1));

-- name: feed_lease_end
select pg_advisory_unlock(hashtextextended('quasar.feed', 0)::bigint # hashtextextended($1::text, 1));

-- name: feed_leases_alive
select 1;

-- name: tick_sequences
select series_id, last_sequence from series_progress where series_id = any($1::integer[]);

-- name: tick_progress_put
insert into series_progress as p (series_id, watermark, last_sequence, rows, updated_at)
select n.series_id, n.watermark, n.last_sequence, n.rows, now()
from unnest($1::integer[], $2::timestamptz[], $3::bigint[], $4::bigint[]) n(series_id, watermark, last_sequence, rows)
on conflict (series_id) do update
set watermark = greatest(p.watermark, excluded.watermark), last_sequence = greatest(p.last_sequence, excluded.last_sequence),
    rows = p.rows + excluded.rows, updated_at = now();

-- name: live_bars_put
-- Store bars of live feeds. A bar that changed keeps its key and counts its revisions.
insert into live_data as l (series_id, open_time, close_time, open, high, low, close, volume, trade_count, vwap, origin)
select * from unnest($1::integer[], $2::timestamptz[], $3::timestamptz[], $4::float8[], $5::float8[], $6::float8[], $7::float8[],
                     $8::float8[], $9::bigint[], $10::float8[], $11::smallint[])
on conflict (series_id, open_time, origin) do update
set close_time = excluded.close_time, open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close,
    volume = excluded.volume, trade_count = excluded.trade_count, vwap = excluded.vwap, known_at = now(), revision = l.revision + 1
where (l.open, l.high, l.low, l.close, l.volume, l.trade_count)
    is distinct from (excluded.open, excluded.high, excluded.low, excluded.close, excluded.volume, excluded.trade_count);

-- name: live_bars_last
-- Bring the newest bar of each series up to date.
insert into bar_last as b (series_id, open_time, close_time, open, high, low, close, volume, origin, known_at)
select distinct on (n.series_id) n.series_id, n.open_time, n.close_time, n.open, n.high, n.low, n.close, n.volume, n.origin, now()
from unnest($1::integer[], $2::timestamptz[], $3::timestamptz[], $4::float8[], $5::float8[], $6::float8[], $7::float8[],
            $8::float8[], $9::smallint[]) n(series_id, open_time, close_time, open, high, low, close, volume, origin)
order by n.series_id, n.open_time desc
on conflict (series_id) do update
set previous_close = case when b.open_time < excluded.open_time then b.close else b.previous_close end,
    open_time = excluded.open_time, close_time = excluded.close_time, open = excluded.open, high = excluded.high, low = excluded.low,
    close = excluded.close, volume = excluded.volume, origin = excluded.origin, known_at = excluded.known_at
where excluded.open_time >= b.open_time;

-- name: feed_gap_open
insert into gaps (series_id, start_time, end_time, cause, evidence)
values ($1, $2, null, $3, jsonb_build_array(jsonb_build_object('time', now(), 'answer', $4::text)))
returning gap_id;

-- name: feed_gap_close
update gaps g set state = $2, end_time = $3,
    repaired_from = case when $2 = 'REPAIRED' then (select s.provider from series s where s.series_id = g.series_id) else '' end,
    evidence = evidence || jsonb_build_object('time', now(), 'answer', $4::text), attempts = attempts + 1, updated_at = now()
where gap_id = $1;

-- name: live_of_common_symbols
-- The provider symbol that each of some common symbols stands for: a live one before others, the one that was chosen before ($2, $3),
-- then the one with the most data. A name without one has nulls.
select distinct on (n.place) n.name, m.symbol as common_symbol, b.provider, b.symbol
from unnest($1::text[], $2::text[], $3::text[]) with ordinality n(name, former_provider, former_symbol, place)
left join registry.common_symbols m on lower(m.symbol) = lower(n.name)
left join lateral (
    select c.name as provider, a.symbol
    from registry.asset_mapping am
    join registry.assets a on a.asset_id = am.asset_id
    join registry.code_registry c on c.code_id = a.code_id and c.kind = 'provider'
    where am.common_symbol_id = m.common_symbol_id and am.active and ($4 = '' or lower(c.name) = lower($4))
    order by exists (select from registry.subscription_symbols y join registry.provider_subscription u using (subscription_id)
                     where y.asset_id = a.asset_id and u.live and u.state = 'ACTIVE') desc,
             (c.name, a.symbol) = (n.former_provider, n.former_symbol) desc,
             (select coalesce(sum(p.rows), 0) from series s join series_progress p using (series_id)
              where s.provider = c.name and s.symbol = a.symbol) desc,
             c.name, a.symbol
    limit 1
) b on true
order by n.place, m.symbol = n.name desc;

-- name: live_of_index
-- The present members of an index and the provider symbols that they are mapped to; nulls: to none. No row: there is no such index.
select distinct coalesce(m.symbol, a.symbol) as member, c.name as provider, a.symbol
from registry.indices i
left join registry.index_memberships im on im.index_id = i.index_id and im.valid_from <= now() and im.valid_to > now()
left join registry.common_symbols m on m.common_symbol_id = im.common_symbol_id
left join registry.asset_mapping am on am.common_symbol_id = im.common_symbol_id and am.active
left join registry.assets a on a.asset_id = coalesce(im.asset_id, am.asset_id)
left join registry.code_registry c on c.code_id = a.code_id and c.kind = 'provider'
where lower(i.name) = lower($1)
order by 2, 3, 1;

-- name: live_known
-- Which of some provider symbols the registry or the DataHub has heard of.
select n.place, exists (select from registry.code_registry c where c.kind = 'provider' and c.name = n.provider) as provider_known,
       exists (select from registry.assets a join registry.code_registry c using (code_id) where c.name = n.provider and a.symbol = n.symbol)
       or exists (select from series s where s.provider = n.provider and s.symbol = n.symbol) as symbol_known
from unnest($1::text[], $2::text[]) with ordinality n(provider, symbol, place)
order by n.place;

-- name: read_ticks
-- A page of ticks behind a place. {direction} is asc or desc, {beyond} the comparison that goes with it.
select t.event_time, t.event_ns, t.receive_time, t.receive_ns, coalesce(t.publish_time, 'epoch') as publish_time, t.publish_ns, t.sequence, t.kind, t.side, t.flags,
       coalesce(t.price, 'NaN'::float8) as price, coalesce(t.size, 'NaN'::float8) as size,
       coalesce(t.bid_price, 'NaN'::float8) as bid_price, coalesce(t.bid_size, 'NaN'::float8) as bid_size,
       coalesce(t.ask_price, 'NaN'::float8) as ask_price, coalesce(t.ask_size, 'NaN'::float8) as ask_size,
       coalesce(t.venue_sequence, -1) as venue_sequence, coalesce(t.trade_id, -1) as trade_id
from ticks t
where t.series_id = $1::integer and t.event_time >= $2::timestamptz and t.event_time < $3::timestamptz and t.kind = any($4::smallint[])
  and ((extract(epoch from t.event_time) * 1000000)::bigint * 1000 + t.event_ns, t.sequence) {beyond} ($5::bigint, $6::bigint)
order by t.event_time {direction}, t.event_ns {direction}, t.sequence {direction}
limit $7::integer;

-- name: tick_before_last
select (extract(epoch from t.event_time) * 1000000)::bigint * 1000 + t.event_ns as event_time_ns, t.sequence
from ticks t
where t.series_id = $1 and t.event_time >= $2 and t.event_time < $3 and t.kind = any($4::smallint[])
order by t.event_time desc, t.event_ns desc, t.sequence desc
offset $5 limit 1;

-- name: tick_gaps
-- Holes of a series that touch a range and begin at or after a time.
select g.*, s.provider, s.symbol, s.interval from gaps g join series s on s.series_id = g.series_id
where g.series_id = $1 and g.start_time < $3 and (g.end_time is null or g.end_time >= $2) and g.start_time >= $4
order by g.start_time;

-- name: replica_seen
-- Say that a DataHub runs; answers whether others do.
with me as (
    insert into feed_replicas as r (replica_id, seen_at) values ($1, now())
    on conflict (replica_id) do update set seen_at = excluded.seen_at
), gone as (
    delete from feed_replicas where replica_id <> $1 and seen_at < now() - interval '1 minute'
)
select exists (select from feed_replicas where replica_id <> $1 and seen_at > now() - make_interval(secs => $2::float8));

-- name: replica_gone
delete from feed_replicas where replica_id = $1;

-- name: feed_states_put
-- Tell how the feeds of a DataHub are; those that it no longer runs are forgotten.
with gone as (
    delete from feed_states where replica_id = $1 and feed_id <> all($2::text[])
)
insert into feed_states as s (replica_id, feed_id, feed, symbols, told_at)
select $1, n.feed_id, n.feed, n.symbols, now()
from unnest($2::text[], $3::bytea[], $4::bytea[]) n(feed_id, feed, symbols)
on conflict (replica_id, feed_id) do update
set feed = excluded.feed, symbols = coalesce(nullif(excluded.symbols, ''::bytea), s.symbols), told_at = excluded.told_at;

-- name: feed_states_of_others
-- How the feeds are that other DataHubs run; $3: with their symbols.
select s.replica_id, s.feed_id, s.feed, case when $3 then s.symbols else ''::bytea end as symbols
from feed_states s join feed_replicas r using (replica_id)
where s.replica_id <> $1 and r.seen_at > now() - make_interval(secs => $2::float8)
order by s.feed_id, s.replica_id;

-- name: feed_request_put
with asked as (
    insert into feed_requests (replica_id, feed_id, symbols, asked_at) values ($1, $2, $3, now())
)
select pg_notify('quasar_feeds', $1);

-- name: feed_requests_take
-- What other DataHubs ask of this one, oldest first.
with taken as (
    delete from feed_requests where replica_id = $1 returning request_id, feed_id, symbols
)
select feed_id, symbols from taken order by request_id;

-- name: newest_bar_of_symbols
-- The bar of any interval that ended last, of each symbol that has one.
select n.place, l.series_id, l.close, l.close_time, l.origin
from unnest($1::text[], $2::text[]) with ordinality n(provider, symbol, place)
cross join lateral (
    select b.series_id, b.close, b.close_time, b.origin from series s join bar_last b using (series_id)
    where s.provider = n.provider and s.symbol = n.symbol
    order by b.close_time desc, b.known_at desc limit 1
) l
order by n.place;

-- name: minutes_since
-- What the bars of some series come to since a time.
select n.series_id, a.open, a.high, a.low, a.close, a.last_open, a.quote_volume, a.trades
from unnest($1::integer[]) n(series_id)
cross join lateral (
    select (array_agg(b.open order by b.open_time))[1] as open, (array_agg(b.close order by b.open_time desc))[1] as close,
           max(b.open_time) as last_open, max(b.high) as high, min(b.low) as low,
           coalesce(sum(b.volume * coalesce(b.vwap, b.close)), 0) as quote_volume, coalesce(sum(b.trade_count), 0)::bigint as trades
    from bars b where b.series_id = n.series_id and b.open_time >= $2
) a
where a.open is not null;

-- name: session_so_far
-- What the minutes of some series came to from the begin of a session on, and the last close of the one before it, which ended at $4.
select a.open, a.high, a.low, a.close, a.volume, a.value, a.trades, p.close as previous_close
from unnest($1::integer[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[]) with ordinality n(series_id, opened, until, before, place)
cross join lateral (
    select (array_agg(b.open order by b.open_time))[1] as open, (array_agg(b.close order by b.open_time desc))[1] as close,
           max(b.high) as high, min(b.low) as low, coalesce(sum(b.volume), 0) as volume,
           coalesce(sum(b.volume * coalesce(b.vwap, b.close)), 0) as value, coalesce(sum(b.trade_count), 0)::bigint as trades
    from bars b where b.series_id = n.series_id and b.open_time >= n.opened and b.open_time < n.until
) a
left join lateral (
    select b.close from bars b
    where b.series_id = n.series_id and b.open_time < n.before and b.open_time >= n.before - interval '10 days'
    order by b.open_time desc limit 1
) p on true
order by n.place;

-- name: live_bars_newest
-- The last live bar of some series, of each origin.
select n.series_id, d.open_time, d.close_time, d.open, d.high, d.low, d.close, d.volume, d.trade_count, d.vwap, d.origin, d.revision, d.known_at
from unnest($1::integer[]) n(series_id)
cross join (values (2), (3)) o(origin)
cross join lateral (
    select l.* from live_data l where l.series_id = n.series_id and l.origin = o.origin order by l.open_time desc limit 1
) d
order by n.series_id, d.origin;
