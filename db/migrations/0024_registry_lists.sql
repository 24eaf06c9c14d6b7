-- What lists of the Registry filter by, beside the columns of their rows.

create function registry.index_symbols(wanted integer) returns text[]
language sql stable
as $$
    select array(
        select m.common_symbol from registry.index_member_details m
        where m.index_id = wanted and m.valid_to = 'infinity' and m.common_symbol <> ''
    )
$$;
comment on function registry.index_symbols is 'The common symbols that an index holds now';

create function registry.symbol_indices(wanted integer) returns text[]
language sql stable
as $$
    select array(
        select i.name from registry.index_memberships m join registry.indices i on i.index_id = m.index_id
        where m.valid_to = 'infinity'
          and (m.common_symbol_id = wanted
               or m.asset_id in (select x.asset_id from registry.asset_mapping x where x.common_symbol_id = wanted))
    )
$$;
comment on function registry.symbol_indices is 'The indices that hold a common symbol now, directly or through a mapped asset';
