-- name: mapping_lock
-- Changes of mappings and common symbols come one after the other: each may make or remove a common symbol that another one needs.
select pg_advisory_xact_lock(hashtextextended('registry mappings', 0));

-- name: mapping_entries
-- What there is about assets that a batch names; one row for each entry, in its order.
select e.place, c.code_id, a.asset_id, c.kind as source_kind, c.name as source_name, m.mapping_id, m.common_symbol_id, m.active, m.origin,
    m.revision, s.symbol as common_symbol, a.root_symbol
from unnest($1::text[], $2::text[], $3::text[]) with ordinality as e (kind, name, symbol, place)
left join code_registry c on c.kind = e.kind and lower(c.name) = lower(e.name)
left join assets a on a.code_id = c.code_id and a.symbol = e.symbol
left join asset_mapping m on m.asset_id = a.asset_id
left join common_symbols s on s.common_symbol_id = m.common_symbol_id
order by e.place;

-- name: mapping_claims
-- Which asset of which source stands for common symbols, by their lower-case names.
select lower(s.symbol) as folded, m.code_id, m.asset_id, a.symbol
from common_symbols s
join asset_mapping m on m.common_symbol_id = s.common_symbol_id
join assets a on a.asset_id = m.asset_id
where lower(s.symbol) = any ($1::text[]);

-- name: common_symbol_ensure
-- Common symbols by name, without regard to case; those that do not exist come to be.
with wanted as (
    select distinct on (lower(w.symbol)) w.symbol from unnest($1::text[]) with ordinality as w (symbol, place)
    order by lower(w.symbol), w.place
),
added as (
    insert into common_symbols (symbol, created_at, updated_at)
    select w.symbol, $2, $2 from wanted w
    where not exists (select from common_symbols s where lower(s.symbol) = lower(w.symbol))
    returning common_symbol_id, symbol
)
select common_symbol_id, symbol, lower(symbol) as folded, true as added from added
union all
select s.common_symbol_id, s.symbol, lower(s.symbol), false from common_symbols s
where lower(s.symbol) in (select lower(w.symbol) from wanted w);

-- name: mapping_insert
insert into asset_mapping (asset_id, code_id, common_symbol_id, active, origin, reason, created_at, updated_at, updated_by)
select m.asset_id, m.code_id, m.common_symbol_id, m.active, m.origin, m.reason, $7, $7, $8
from unnest($1::bigint[], $2::integer[], $3::integer[], $4::boolean[], $5::text[], $6::text[])
    as m (asset_id, code_id, common_symbol_id, active, origin, reason);

-- name: mapping_update
-- All at once, so that symbols can be swapped.
update asset_mapping m
set common_symbol_id = n.common_symbol_id, active = n.active, origin = n.origin, reason = n.reason, updated_at = $6, updated_by = $7,
    revision = m.revision + 1
from unnest($1::bigint[], $2::integer[], $3::boolean[], $4::text[], $5::text[]) as n (asset_id, common_symbol_id, active, origin, reason)
where m.asset_id = n.asset_id;

-- name: mapping_delete
delete from asset_mapping where asset_id = any ($1::bigint[]);

-- name: common_symbol_sweep
-- Remove those of some common symbols that nothing holds any more.
delete from common_symbols s
where s.common_symbol_id = any ($1::integer[]) and not s.explicit
    and not exists (select from asset_mapping m where m.common_symbol_id = s.common_symbol_id)
    and not exists (select from index_memberships i where i.common_symbol_id = s.common_symbol_id)
returning s.symbol;

-- name: mappings_of_assets
select d.* from mapping_details d where d.asset_id = any ($1::bigint[]);

-- name: mapping_one
select d.* from mapping_details d where d.source_kind = $1 and lower(d.source_name) = lower($2) and d.symbol = $3;

-- name: mapping_page
with page as (select d.mapping_id from mapping_details d where {filter} and {after} order by {order} limit $1)
select {key} as order_key, d.* from page join mapping_details d on d.mapping_id = page.mapping_id order by {order};

-- name: mapping_walk
-- A page along the common symbols; no more than $2 mappings are looked at.
with page as (
    select w.mapping_id, w.order_key
    from (
        select d.mapping_id, {key} as order_key, {filter} as passes
        from mapping_details d where {segment} and {after} order by {order} limit $2
    ) w
    where w.passes limit $1
)
select page.order_key, d.* from page join mapping_details d on d.mapping_id = page.mapping_id order by {order};

-- name: mapping_edge
select {key} as order_key from mapping_details d where {segment} and {after} order by {order} offset $1::bigint - 1 limit 1;

-- name: mapping_passed
select count(*) from (select from mapping_details d where {segment} and {after} limit $1) passed;

-- name: mapping_crowd
select count(*) from (select from asset_mapping where code_id = any ($2::integer[]) limit $1) found;

-- name: mappings_of_common_symbol
select d.* from mapping_details d where d.common_symbol_id = $1 order by d.source_kind, d.source_name, d.symbol;

-- name: common_symbol_page
with page as (select s.common_symbol_id from common_symbol_details s where {filter} and {after} order by {order} limit $1)
select {key} as order_key, s.* from page join common_symbol_details s on s.common_symbol_id = page.common_symbol_id order by {order};

-- name: common_symbol_walk
with page as (
    select w.common_symbol_id, w.order_key
    from (
        select s.common_symbol_id, {key} as order_key, {filter} as passes
        from common_symbol_details s where {segment} and {after} order by {order} limit $2
    ) w
    where w.passes limit $1
)
select page.order_key, s.* from page join common_symbol_details s on s.common_symbol_id = page.common_symbol_id order by {order};

-- name: common_symbol_edge
select {key} as order_key from common_symbols s where {segment} and {after} order by {order} offset $1::bigint - 1 limit 1;

-- name: common_symbol_passed
select count(*) from (select from common_symbols s where {segment} and {after} limit $1) passed;

-- name: common_symbol_crowd
select count(*) from (select from common_symbols limit $1) found;

-- name: common_symbol_one
select s.* from common_symbol_details s where lower(s.symbol) = lower($1);

-- name: common_symbol_lock
select common_symbol_id, symbol, explicit, revision from common_symbols where lower(symbol) = lower($1) for update;

-- name: common_symbol_insert
insert into common_symbols (symbol, description, explicit, created_at, updated_at) values ($1, $2, true, $3, $3);

-- name: common_symbol_make_explicit
update common_symbols set explicit = true, description = $2, updated_at = $3, revision = revision + 1 where common_symbol_id = $1;

-- name: common_symbol_rename
update common_symbols set symbol = $2, updated_at = $3, revision = revision + 1 where common_symbol_id = $1;

-- name: common_symbol_delete
delete from common_symbols where common_symbol_id = $1;

-- name: common_symbol_usage
-- Counts of what follows a rename.
select (select count(*) from asset_mapping m where m.common_symbol_id = $1) as mappings,
    (select count(*) from index_memberships i where i.common_symbol_id = $1) as memberships;

-- name: common_symbol_indices
-- Indices that hold a common symbol or held it.
select distinct i.name from index_memberships m join indices i on i.index_id = m.index_id where m.common_symbol_id = $1 order by 1;

-- name: common_symbol_memberships
-- Indices that hold a common symbol now, by itself or through an asset that is mapped to it.
select i.name as index_name, m.weight, m.valid_from, m.name, m.asset_class, a.symbol as asset_symbol, c.kind as source_kind,
    c.name as source_name
from index_memberships m
join indices i on i.index_id = m.index_id
left join assets a on a.asset_id = m.asset_id
left join code_registry c on c.code_id = a.code_id
where m.valid_to = 'infinity'
    and (m.common_symbol_id = $1 or m.asset_id in (select x.asset_id from asset_mapping x where x.common_symbol_id = $1))
order by i.name;

-- name: common_symbol_identities
-- The identities of the assets behind a common symbol.
select array_remove(array_agg(distinct a.identity_id), '') as identities
from common_symbols s
left join asset_mapping m on m.common_symbol_id = s.common_symbol_id
left join assets a on a.asset_id = m.asset_id and a.identity_id <> ''
where lower(s.symbol) = lower($1)
group by s.common_symbol_id;

-- name: named_subscriptions
-- Subscriptions that name a common symbol ($2 false) or an index ($2 true), without regard to case.
select p.subscription_id, p.selector, p.code_id, p.interval from provider_subscription p
where registry.lowered(p.selection_names) @> array[lower($1)]
    and p.selection_kind = any (case when $2 then '{index}' else '{common_symbol,common_symbols}' end::text[])
order by p.subscription_id;

-- name: subscription_rename
update provider_subscription
set selector = $2, selection_name = $3, selection_names = $4, selection_key = $5, updated_at = $6, revision = revision + 1
where subscription_id = $1;

-- name: resolve_common_symbols
-- Active mappings of common symbols by name, in the order of the sources.
select lower(s.symbol) as folded, s.symbol as common_symbol, m.active, m.code_id, c.kind as source_kind, c.name as source_name, a.symbol
from common_symbols s
left join asset_mapping m on m.common_symbol_id = s.common_symbol_id
left join assets a on a.asset_id = m.asset_id
left join code_registry c on c.code_id = m.code_id
where lower(s.symbol) = any ($1::text[])
order by c.kind, c.name, a.symbol;

-- name: mapping_candidates
-- Assets of some sources and classes for automated mapping, with the mapping that they have.
select a.asset_id, a.code_id, c.kind as source_kind, c.name as source_name, a.symbol, a.root_symbol, a.matcher_symbol, a.asset_class,
    a.identity_group, a.identity_id, a.base_currency, a.quote_currency, a.state, m.common_symbol_id, m.origin, m.active, s.symbol as common_symbol
from assets a
join code_registry c on c.code_id = a.code_id
left join asset_mapping m on m.asset_id = a.asset_id
left join common_symbols s on s.common_symbol_id = m.common_symbol_id
where a.code_id = any ($1::integer[]) and ($2::text[] is null or a.asset_class = any ($2))
order by a.asset_id;

-- name: mapping_claimed_names
-- Which identities and sources stand behind every common symbol.
select s.symbol, s.common_symbol_id, m.code_id, m.asset_id, coalesce(a.identity_id, '') as identity_id, coalesce(a.identity_group, '') as identity_group
from common_symbols s
left join asset_mapping m on m.common_symbol_id = s.common_symbol_id
left join assets a on a.asset_id = m.asset_id;

-- name: remap_indices
-- Indices that hold some common symbols now, by themselves or through assets.
select distinct i.name as index_name, s.symbol as common_symbol
from index_memberships m
join indices i on i.index_id = m.index_id
left join asset_mapping x on x.asset_id = m.asset_id
join common_symbols s on s.common_symbol_id = coalesce(m.common_symbol_id, x.common_symbol_id)
where m.valid_to = 'infinity' and lower(s.symbol) = any ($1::text[])
order by 1, 2;

-- name: remap_subscriptions
select count(*) from provider_subscription p
where p.selection_kind in ('common_symbol', 'common_symbols')
    and registry.lowered(p.selection_names) && $1::text[];

-- name: remap_held_symbols
-- Those of some common symbols that an index holds or held, or that somebody created.
select s.symbol from common_symbols s
where lower(s.symbol) = any ($1::text[])
    and (s.explicit or exists (select from index_memberships i where i.common_symbol_id = s.common_symbol_id));

-- name: mapping_identity_names
-- The common symbols of identities, and who is mapped to them, but for some assets ($2).
select a.identity_id, s.symbol as common_symbol
from assets a
join asset_mapping m on m.asset_id = a.asset_id
join common_symbols s on s.common_symbol_id = m.common_symbol_id
where a.identity_id = any ($1::text[]) and not a.asset_id = any ($2::bigint[]);

-- name: mapping_pair_names
-- The common symbols of currency pairs without an identity, by root, but for some assets ($2).
select a.root_symbol as root, s.symbol as common_symbol
from assets a
join asset_mapping m on m.asset_id = a.asset_id
join common_symbols s on s.common_symbol_id = m.common_symbol_id
where a.identity_group = 'currency' and a.identity_id = '' and a.root_symbol = any ($1::text[]) and not a.asset_id = any ($2::bigint[]);

-- name: mapping_identity_roots
select distinct on (identity_id) identity_id, root_symbol as root
from assets where identity_id = any ($1::text[]) and root_symbol <> ''
order by identity_id, length(root_symbol), root_symbol;

-- name: mapping_name_holders
-- Who stands for common symbols, by lower-case name, but for some assets ($2).
select lower(s.symbol) as folded, s.symbol as common_symbol, m.code_id, m.asset_id, a.identity_id, a.identity_group, a.root_symbol as root
from common_symbols s
left join asset_mapping m on m.common_symbol_id = s.common_symbol_id and not m.asset_id = any ($2::bigint[])
left join assets a on a.asset_id = m.asset_id
where lower(s.symbol) = any ($1::text[]);
