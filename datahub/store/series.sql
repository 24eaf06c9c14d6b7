-- name: series_by_ids
select * from series_facts where series_id = any($1::integer[]);

-- name: series_by_names
-- Find series by their names; the order of the names is kept by `place`.
select f.*, n.place
from unnest($1::text[], $2::text[], $3::text[]) with ordinality n(provider, symbol, interval, place)
join series_facts f on f.provider = n.provider and f.symbol = n.symbol and f.interval = n.interval;

-- name: series_ids_by_names
-- The ids alone, for answers that need no more of their series.
select s.series_id, n.place
from unnest($1::text[], $2::text[], $3::text[]) with ordinality n(provider, symbol, interval, place)
join series s on s.provider = n.provider and s.symbol = n.symbol and s.interval = n.interval;

-- name: series_insert
-- Create the series that are missing. A name that somebody else creates at the same time is left to them.
insert into series (provider, symbol, interval, calendar)
select distinct on (n.provider, n.symbol, n.interval) n.provider, n.symbol, n.interval, n.calendar
from unnest($1::text[], $2::text[], $3::text[], $4::text[]) n(provider, symbol, interval, calendar)
where not exists (select from series s where s.provider = n.provider and s.symbol = n.symbol and s.interval = n.interval)
on conflict (provider, symbol, interval) do nothing;

-- name: series_of_common_symbol
-- The series of one common symbol at an interval, the best first: with data before those without, the longer before the shorter.
select f.*
from registry.common_symbols m
join registry.asset_mapping am on am.common_symbol_id = m.common_symbol_id and am.active
join registry.assets a on a.asset_id = am.asset_id
join registry.code_registry c on c.code_id = a.code_id and c.kind = 'provider'
join series_facts f on f.provider = c.name and f.symbol = a.symbol and f.interval = $2
left join series_progress p on p.series_id = f.series_id
where lower(m.symbol) = lower($1) and ($3 = '' or lower(f.provider) = lower($3))
order by coalesce(p.rows, 0) desc, f.provider, f.symbol
limit 1;

-- name: series_of_instrument
-- Series of other providers at the same interval whose symbol is mapped to the same common symbol.
select o.*
from series_facts f
join registry.common_symbols m on lower(m.symbol) = lower(f.common_symbol)
join registry.asset_mapping am on am.common_symbol_id = m.common_symbol_id and am.active
join registry.assets a on a.asset_id = am.asset_id
join registry.code_registry c on c.code_id = a.code_id and c.kind = 'provider'
join series_facts o on o.provider = c.name and o.symbol = a.symbol and o.interval = f.interval
where f.series_id = $1 and f.common_symbol <> '' and o.provider <> f.provider
order by o.provider, o.symbol;

-- name: symbol_of_common_symbol
-- The provider's symbol of a common symbol that holds most bars at any interval, of one provider or of any.
select f.provider, f.symbol
from registry.common_symbols m
join registry.asset_mapping am on am.common_symbol_id = m.common_symbol_id and am.active
join registry.assets a on a.asset_id = am.asset_id
join registry.code_registry c on c.code_id = a.code_id and c.kind = 'provider'
join series_facts f on f.provider = c.name and f.symbol = a.symbol and f.interval <> ''
join series_progress p on p.series_id = f.series_id and p.rows > 0
where lower(m.symbol) = lower($1) and ($2 = '' or lower(f.provider) = lower($2))
order by p.rows desc, f.provider, f.symbol
limit 1;
