-- Which indices hold a symbol, found from the symbol: a filter on members asked every index for all of its members.

create function registry.indices_holding(wanted text) returns integer[]
language sql stable
as $$
    select array(
        select m.index_id from registry.common_symbols s
        join registry.index_memberships m on m.common_symbol_id = s.common_symbol_id
        where lower(s.symbol) = lower(wanted) and s.symbol = wanted and m.valid_to = 'infinity'
        union
        select m.index_id from registry.common_symbols s
        join registry.asset_mapping x on x.common_symbol_id = s.common_symbol_id
        join registry.index_memberships m on m.asset_id = x.asset_id
        where lower(s.symbol) = lower(wanted) and s.symbol = wanted and m.valid_to = 'infinity'
    )
$$;
comment on function registry.indices_holding is 'The indices that hold a common symbol now, by itself or through an asset that is mapped to it';
