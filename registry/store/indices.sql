-- name: index_one
select d.* from index_details d where lower(d.name) = lower($1);

-- name: index_named
-- An index without its figures, which cost a look at each member.
select index_id, name from indices where lower(name) = lower($1);

-- name: index_lock
select index_id from indices where lower(name) = lower($1) for update;

-- name: index_page
-- A page, and with each row how many pass the filter, which is asked of every index once.
with passed as materialized (select d.index_id from index_details d where {passes}),
page as (
    select d.index_id from passed join index_details d on d.index_id = passed.index_id where {segment} and {after} order by {order} limit $1
)
select {key} as order_key, d.*, (select count(*) from passed) as total
from page join index_details d on d.index_id = page.index_id order by {order};

-- name: index_total
-- The same number, where a page has no row to tell it.
select count(*) from index_details d where {filter};

-- name: index_insert
insert into indices (name, type, description, created_at, created_by, updated_at) values ($1, 'USER', $2, $3, $4, $3)
on conflict (lower(name)) do nothing
returning index_id;

-- name: index_reconcile
-- Active index providers have an index for each name that they answer for; one whose name is taken gets the provider's before it.
with wanted as (
    select c.code_id, c.name as provider, n.name as provider_index, coalesce(v.manifest ->> 'description', '') as description
    from code_registry c
    join code_versions v on v.code_id = c.code_id and v.version = c.active_version
    cross join lateral jsonb_array_elements_text(
        case when v.manifest -> 'indices' <> '[]' then v.manifest -> 'indices' else jsonb_build_array(c.name) end
    ) as n (name)
    where c.kind = 'provider' and c.deleted_at is null and v.manifest -> 'capabilities' ? 'PROVIDER_CAPABILITY_INDEX'
        and not exists (select from indices i where i.code_id = c.code_id and i.provider_index = n.name)
)
insert into indices (name, type, code_id, provider_index, description, created_at, updated_at, next_sync_at)
select left(case when exists (select from indices i where lower(i.name) = lower(w.provider_index)) then w.provider || ':' || w.provider_index
        else w.provider_index end, 100),
    'PROVIDER', w.code_id, w.provider_index, left(w.description, 2000), $1, $1, $1
from wanted w
on conflict do nothing
returning name;

-- name: index_missing
-- Whether an active index provider lacks an index that its present version answers for; reading is cheaper than trying to insert.
select exists (
    select from code_registry c
    join code_versions v on v.code_id = c.code_id and v.version = c.active_version
    cross join lateral jsonb_array_elements_text(
        case when v.manifest -> 'indices' <> '[]' then v.manifest -> 'indices' else jsonb_build_array(c.name) end
    ) as n (name)
    where c.kind = 'provider' and c.deleted_at is null and v.manifest -> 'capabilities' ? 'PROVIDER_CAPABILITY_INDEX'
        and not exists (select from indices i where i.code_id = c.code_id and i.provider_index = n.name)
);

-- name: index_update
update indices
set name = $2, description = $3, sync_frequency = $4, sync_cron = $5, sync_time_zone = $6, next_sync_at = $7, updated_at = $8,
    revision = revision + 1
where index_id = $1;

-- name: index_set_next_sync
update indices set next_sync_at = $2 where index_id = $1 and revision = $3 and next_sync_at is distinct from $2 returning name;

-- name: index_due_times
-- What says when each index of an active provider is due, without the figures of its members.
select i.index_id, i.sync_frequency, i.sync_cron, i.sync_time_zone, i.last_sync_at, i.last_sync_state, i.created_at, i.next_sync_at, i.revision,
    c.preferences
from indices i
join code_registry c on c.code_id = i.code_id and c.deleted_at is null and c.active_version is not null
where i.type = 'PROVIDER'
order by i.index_id;

-- name: index_synced
update indices
set last_sync_at = $2, last_sync_state = $3, last_sync_message = $4, next_sync_at = $5, updated_at = $2, revision = revision + 1
where index_id = $1;

-- name: index_members_changed
update indices set members_changed_at = $2, updated_at = $3, revision = revision + 1 where index_id = $1;

-- name: index_scheduled
-- Indices of active providers.
select d.* from index_details d where d.type = 'PROVIDER' and d.provider_active order by d.index_id;

-- name: index_delete_members
delete from index_memberships where index_id = $1;

-- name: index_delete
delete from indices where index_id = $1;

-- name: index_period_count
select count(*) from index_memberships where index_id = $1;

-- name: index_held_symbols
select distinct common_symbol_id from index_memberships where index_id = $1 and common_symbol_id is not null;

-- name: index_current
-- The members now, by what they are: a common symbol or an asset.
select coalesce(m.common_symbol_id::bigint, m.asset_id) as key, coalesce(a.symbol, s.symbol) as symbol,
    coalesce(s.symbol, t.symbol, '') as common_symbol, m.weight, m.name, m.asset_class
from index_memberships m
left join assets a on a.asset_id = m.asset_id
left join common_symbols s on s.common_symbol_id = m.common_symbol_id
left join asset_mapping x on x.asset_id = m.asset_id
left join common_symbols t on t.common_symbol_id = x.common_symbol_id
where m.index_id = $1 and m.valid_to = 'infinity';

-- name: index_close
-- End periods of members ($2: common symbols, or assets when $4) at $3. One that began at that very instant never held and goes.
with gone as (
    delete from index_memberships
    where index_id = $1 and valid_to = 'infinity' and valid_from >= $3
        and case when $4::boolean then asset_id else common_symbol_id end = any ($2::bigint[])
    returning 1
)
update index_memberships set valid_to = $3
where index_id = $1 and valid_to = 'infinity' and valid_from < $3
    and case when $4::boolean then asset_id else common_symbol_id end = any ($2::bigint[]);

-- name: index_open
insert into index_memberships (index_id, common_symbol_id, asset_id, name, asset_class, weight, valid_from)
select $1, case when $7::boolean then null else m.key end, case when $7::boolean then m.key end, m.name, m.asset_class, m.weight, $6
from unnest($2::bigint[], $3::text[], $4::text[], $5::double precision[]) as m (key, name, asset_class, weight);

-- name: index_known_symbols
-- Common symbols by name without regard to case, for those that exist.
select lower(s.symbol) as folded, s.symbol, s.common_symbol_id from common_symbols s where lower(s.symbol) = any ($1::text[]);

-- name: index_constituent_assets
select a.asset_id, a.symbol, coalesce(s.symbol, '') as common_symbol
from assets a
left join asset_mapping m on m.asset_id = a.asset_id
left join common_symbols s on s.common_symbol_id = m.common_symbol_id
where a.code_id = $1 and a.symbol = any ($2::text[]);

-- name: index_member_page
-- A page, and with each row how many pass the filter, so that each member is looked up once. The rows are those of index_member_details;
-- common symbols and assets apart are a third of the work: the planner does not expect that most look-ups have nothing to find.
with passed as materialized (
    select d.* from (
        select m.membership_id, m.index_id, m.weight, m.valid_from, m.valid_to, s.symbol as common_symbol, '' as symbol,
            '' as source_kind, '' as source_name, coalesce(nullif(m.name, ''), y.name, '') as name,
            coalesce(nullif(m.asset_class, ''), y.asset_class, '') as asset_class, y.asset_id is not null as mapped
        from index_memberships m
        join common_symbols s on s.common_symbol_id = m.common_symbol_id
        left join lateral (
            select a.asset_id, a.name, a.asset_class from asset_mapping x join assets a on a.asset_id = x.asset_id
            where x.common_symbol_id = m.common_symbol_id and x.active
            order by x.code_id limit 1
        ) y on true
        union all
        select m.membership_id, m.index_id, m.weight, m.valid_from, m.valid_to, coalesce(s.symbol, ''), a.symbol,
            c.kind, c.name, coalesce(nullif(m.name, ''), a.name, ''),
            coalesce(nullif(m.asset_class, ''), a.asset_class, ''), x.asset_id is not null
        from index_memberships m
        join assets a on a.asset_id = m.asset_id
        join code_registry c on c.code_id = a.code_id
        left join asset_mapping x on x.asset_id = m.asset_id
        left join common_symbols s on s.common_symbol_id = x.common_symbol_id
    ) d
    where d.index_id = $2 and d.valid_from <= $3 and $3 < d.valid_to and {passes}
)
select {key} as order_key, d.*, (select count(*) from passed) as total from passed d where {segment} and {after} order by {order} limit $1;

-- name: index_member_page_by_symbols
-- The same where neither filter nor order asks what members stand for.
with passed as materialized (
    select d.* from index_member_symbols d where d.index_id = $2 and d.valid_from <= $3 and $3 < d.valid_to and {passes}
),
page as (select d.membership_id from passed d where {segment} and {after} order by {order} limit $1)
select {key} as order_key, d.*, (select count(*) from passed) as total
from page join index_member_details d on d.membership_id = page.membership_id order by {order};

-- name: index_member_total
-- The same number, where a page has no row to tell it.
select count(*) from index_member_details d where d.index_id = $1 and d.valid_from <= $2 and $2 < d.valid_to and {filter};

-- name: index_days
-- Days with changes, newest first: periods that began or ended, within [$2, $3) and before the day $4; $5: of one member or all.
select distinct (at at time zone 'UTC')::date as day
from (
    select d.valid_from as at from index_member_symbols d
    where d.index_id = $1 and ($5 = '' or lower($5) in (lower(d.symbol), lower(d.common_symbol)))
    union all
    select d.valid_to from index_member_symbols d
    where d.index_id = $1 and d.valid_to <> 'infinity' and ($5 = '' or lower($5) in (lower(d.symbol), lower(d.common_symbol)))
) changes
where ($2::timestamptz is null or at >= $2) and ($3::timestamptz is null or at < $3)
    and ($4::date is null or (at at time zone 'UTC')::date < $4)
order by day desc limit $6;

-- name: index_changes
-- What happened between $2 and $3 to members: a period that began where the one before it ended is a change of weight.
with periods as (
    select d.symbol, d.common_symbol, d.weight, d.valid_from, d.valid_to,
        lag(d.weight) over member as former_weight, lag(d.valid_to) over member as former_end, lead(d.valid_from) over member as next_begin
    from index_member_symbols d
    where d.index_id = $1 and ($4 = '' or lower($4) in (lower(d.symbol), lower(d.common_symbol)))
    window member as (partition by d.common_symbol_id, d.asset_id order by d.valid_from)
)
select case when former_end = valid_from then 'WEIGHT_CHANGED' else 'ADDED' end as change, symbol, common_symbol,
    case when former_end = valid_from then former_weight end as weight_before, weight as weight_after, valid_from as at
from periods where valid_from >= $2 and valid_from < $3
union all
select 'REMOVED', symbol, common_symbol, weight, null, valid_to
from periods where valid_to >= $2 and valid_to < $3 and valid_to is distinct from next_begin;

-- name: index_counts_at
-- How many members an index had at some instants.
select t.at, count(m.membership_id) as members
from unnest($2::timestamptz[]) as t (at)
left join index_memberships m on m.index_id = $1 and m.valid_from <= t.at and t.at < m.valid_to
group by t.at;

-- name: index_source_members
-- The assets of a source that are members of any index now.
select distinct a.symbol from index_memberships m join assets a on a.asset_id = m.asset_id
where a.code_id = $1 and m.valid_to = 'infinity';
