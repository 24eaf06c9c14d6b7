-- name: paper_instruments
-- What paper accounts trade: common symbols with an active mapping, each with the asset of the first provider that has it.
select s.symbol, a.name, a.exchange, a.asset_class, a.base_currency, a.quote_currency, a.country, a.identity_id
from registry.common_symbols s
cross join lateral (
    select b.* from registry.asset_mapping m join registry.assets b on b.asset_id = m.asset_id
    join registry.code_registry c on c.code_id = m.code_id and c.kind = 'provider'
    where m.common_symbol_id = s.common_symbol_id and m.active
    order by m.code_id limit 1
) a
where s.symbol > $1
order by s.symbol
limit $2;
