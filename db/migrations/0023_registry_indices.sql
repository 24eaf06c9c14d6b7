-- What indices need: the provider's own name of an index, when the next sync is due, and a view with the figures that lists show.

alter table registry.indices
    add column provider_index text not null default '',
    add column next_sync_at   timestamptz;
create unique index indices_provider on registry.indices (code_id, provider_index) where code_id is not null;
comment on column registry.indices.provider_index is 'What the provider calls it; differs from the name where a user index has that';

create index index_memberships_changes on registry.index_memberships (index_id, valid_to) where valid_to <> 'infinity';

create view registry.index_member_details as
    select m.membership_id, m.index_id, m.common_symbol_id, m.asset_id, m.weight, m.valid_from, m.valid_to,
        coalesce(s.symbol, '') as common_symbol,
        coalesce(a.symbol, '') as symbol,
        coalesce(c.kind, '') as source_kind,
        coalesce(c.name, '') as source_name,
        coalesce(nullif(m.name, ''), a.name, d.name, '') as name,
        coalesce(nullif(m.asset_class, ''), a.asset_class, d.asset_class, '') as asset_class,
        case when m.asset_id is null then d.mapped is not null else x.asset_id is not null end as mapped
    from registry.index_memberships m
    left join registry.assets a on a.asset_id = m.asset_id
    left join registry.code_registry c on c.code_id = a.code_id
    left join registry.asset_mapping x on x.asset_id = m.asset_id
    left join registry.common_symbols s on s.common_symbol_id = coalesce(m.common_symbol_id, x.common_symbol_id)
    left join lateral (
        select true as mapped, b.name, b.asset_class
        from registry.asset_mapping y join registry.assets b on b.asset_id = y.asset_id
        where m.asset_id is null and y.common_symbol_id = m.common_symbol_id and y.active
        order by y.code_id limit 1
    ) d on true;

create view registry.index_details as
    select i.*, coalesce(c.name, '') as provider,
        coalesce(c.active_version is not null and c.deleted_at is null, false) as provider_active,
        c.code_id is not null and c.deleted_at is null as provider_exists,
        coalesce(c.preferences, '{}') as preferences,
        (select count(*) from registry.index_memberships m where m.index_id = i.index_id and m.valid_to = 'infinity') as member_count,
        (select sum(m.weight) from registry.index_memberships m where m.index_id = i.index_id and m.valid_to = 'infinity') as weight_sum,
        (select count(m.weight) from registry.index_memberships m where m.index_id = i.index_id and m.valid_to = 'infinity') as weighted_count,
        (select count(*) from registry.index_memberships m where m.index_id = i.index_id and m.valid_to = 'infinity' and (
            exists (select from registry.asset_mapping x where x.asset_id = m.asset_id)
            or exists (select from registry.asset_mapping y where y.common_symbol_id = m.common_symbol_id and y.active))) as mapped_count
    from registry.indices i
    left join registry.code_registry c on c.code_id = i.code_id;
