-- Common symbols are told apart without regard to case, so subscriptions that name one are counted and renamed without it too.

create function registry.lowered(texts text[]) returns text[] language sql immutable strict parallel safe as $$
    select array(select lower(t) from unnest(texts) with ordinality u (t, place) order by place)
$$;
drop index registry.provider_subscription_names;
create index provider_subscription_names on registry.provider_subscription using gin (registry.lowered(selection_names));

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
                and p.selection_kind in ('common_symbol', 'common_symbols')) as subscription_count
    from registry.common_symbols s;
