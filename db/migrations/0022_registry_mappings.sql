-- What mappings need: two symbols may be swapped in one statement, and views of what lists show. Counts are computed when they are asked for.

alter table registry.asset_mapping drop constraint asset_mapping_common_symbol_id_code_id_key;
alter table registry.asset_mapping add constraint asset_mapping_common_symbol_id_code_id_key
    unique (common_symbol_id, code_id) deferrable initially immediate;

create index provider_subscription_names on registry.provider_subscription using gin (selection_names);

create view registry.mapping_details as
    select m.mapping_id, m.asset_id, m.code_id, m.common_symbol_id, m.active, m.origin, m.reason, m.created_at, m.updated_at, m.updated_by,
        m.revision, c.kind as source_kind, c.name as source_name, a.symbol, s.symbol as common_symbol, a.name as asset_name, a.asset_class,
        a.exchange, a.quote_currency, a.identity_id, a.state as asset_state
    from registry.asset_mapping m
    join registry.assets a on a.asset_id = m.asset_id
    join registry.code_registry c on c.code_id = m.code_id
    join registry.common_symbols s on s.common_symbol_id = m.common_symbol_id;

create view registry.common_symbol_details as
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
            where p.selection_names @> array[s.symbol] and p.selection_kind in ('common_symbol', 'common_symbols')) as subscription_count
    from registry.common_symbols s;
