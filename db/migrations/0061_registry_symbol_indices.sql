-- The indices of a common symbol as a column that indexes make, where a filter asks for it: the function before went through all memberships for each
-- symbol, which took seconds behind a filter on a part of an index's name.

create or replace view registry.common_symbol_details as
    select s.common_symbol_id, s.symbol, s.description, s.explicit, s.created_at, s.updated_at, s.revision,
        (select case when count(distinct a.asset_class) = 1 then min(a.asset_class) else '' end
            from registry.asset_mapping m join registry.assets a on a.asset_id = m.asset_id
            where m.common_symbol_id = s.common_symbol_id) as asset_class,
        (select case when count(distinct a.identity_id) = 1 then min(a.identity_id) else '' end
            from registry.asset_mapping m join registry.assets a on a.asset_id = m.asset_id
            where m.common_symbol_id = s.common_symbol_id and a.identity_id <> '') as identity_id,
        (select count(*) from registry.asset_mapping m where m.common_symbol_id = s.common_symbol_id) as mapping_count,
        (select count(*) from registry.asset_mapping m join registry.code_registry c on c.code_id = m.code_id
            where m.common_symbol_id = s.common_symbol_id and c.kind = 'provider') as provider_count,
        (select count(*) from registry.asset_mapping m join registry.code_registry c on c.code_id = m.code_id
            where m.common_symbol_id = s.common_symbol_id and c.kind = 'broker') as broker_count,
        (select count(distinct index_id) from (
            select i.index_id from registry.index_memberships i
            where i.common_symbol_id = s.common_symbol_id and i.valid_to = 'infinity'
            union all
            select i.index_id from registry.asset_mapping m join registry.index_memberships i on i.asset_id = m.asset_id
            where m.common_symbol_id = s.common_symbol_id and i.valid_to = 'infinity'
        ) held) as index_count,
        (select count(*) from registry.provider_subscription p
            where registry.lowered(p.selection_names) @> array[lower(s.symbol)]
                and p.selection_kind in ('common_symbol', 'common_symbols')) as subscription_count,
        array(
            select i.name from registry.indices i where i.index_id in (
                select h.index_id from registry.index_memberships h
                where h.common_symbol_id = s.common_symbol_id and h.valid_to = 'infinity'
                union all
                select h.index_id from registry.asset_mapping m join registry.index_memberships h on h.asset_id = m.asset_id
                where m.common_symbol_id = s.common_symbol_id and h.valid_to = 'infinity'
            )
        ) as indices
    from registry.common_symbols s;

drop function registry.symbol_indices(integer);

-- What the members of an index stand for says nothing about their symbols.
create or replace function registry.index_symbols(wanted integer) returns text[]
language sql stable
as $$
    select array(
        select m.common_symbol from registry.index_member_symbols m
        where m.index_id = wanted and m.valid_to = 'infinity' and m.common_symbol <> ''
    )
$$;
