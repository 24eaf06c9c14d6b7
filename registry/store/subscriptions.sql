-- name: subscription_providers
-- Providers by their names in lower case, with what they declare and whether their symbols are known.
select c.code_id, c.name, c.active_version, c.preferences, v.manifest,
    exists (select from registry.assets a where a.code_id = c.code_id) as has_assets
from registry.code_registry c
join registry.code_versions v on v.code_id = c.code_id and v.version = coalesce(c.active_version, c.latest_version)
where c.kind = 'provider' and c.deleted_at is null and lower(c.name) = any($1);

-- name: subscription_hold_provider
-- The provider cannot be deleted before the transaction ends.
select code_id from registry.code_registry where code_id = any($1) and deleted_at is null order by code_id for key share;

-- name: subscription_unknown_symbols
-- Of pairs of provider and symbol those that the provider's assets do not have.
select n.place
from unnest($1::integer[], $2::text[]) with ordinality n (code_id, symbol, place)
where not exists (select from registry.assets a where a.code_id = n.code_id and a.symbol = n.symbol);

-- name: subscription_unknown_common_symbols
select n.place
from unnest($1::text[]) with ordinality n (symbol, place)
where not exists (select from registry.common_symbols s where lower(s.symbol) = lower(n.symbol));

-- name: subscription_unknown_indices
select n.place
from unnest($1::text[]) with ordinality n (name, place)
where not exists (select from registry.indices i where lower(i.name) = lower(n.name));

-- name: subscription_insert
-- All at once; what exists already is left as it is and not returned.
insert into registry.provider_subscription (
    code_id, provider, interval, selection_kind, selection_name, selection_names, selection_key, selector, historical, live,
    store_ticks, tick_kinds, cron, time_zone, backfill_start, note, state, created_at, updated_at, created_by
)
select n.code_id, n.provider, n.interval, n.kind, n.name,
    case when n.kind = 'assets' then '{}'::text[]
         else array(select jsonb_array_elements_text(jsonb_path_query_array(n.selector, 'lax $.*[*]'))) end,
    n.key, n.selector, n.historical, n.live, n.store_ticks,
    string_to_array(n.tick_kinds, ','), n.cron, n.time_zone, n.backfill_start, n.note,
    case when n.paused then 'PAUSED' else 'ACTIVE' end, $17, $17, $18
from unnest(
    $1::integer[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::jsonb[], $8::boolean[], $9::boolean[],
    $10::boolean[], $11::text[], $12::text[], $13::text[], $14::timestamptz[], $15::text[], $16::boolean[]
) n (code_id, provider, interval, kind, name, key, selector, historical, live, store_ticks, tick_kinds, cron, time_zone, backfill_start, note,
     paused)
on conflict (code_id, interval, selection_key) do nothing
returning subscription_id, code_id, interval, selection_key;

-- name: subscription_by_key
-- Which subscription selects the same of the same provider at the same interval.
select n.place, s.subscription_id
from unnest($1::integer[], $2::text[], $3::bytea[]) with ordinality n (code_id, interval, key, place)
join registry.provider_subscription s on s.code_id = n.code_id and s.interval = n.interval and s.selection_key = n.key;

-- name: subscription_resolve
-- Bring what selections come down to up to date: of the subscriptions in $1, or of all when it is null. Selections with a filter
-- text are resolved one by one. Returns how many rows changed.
with chosen as (
    select s.subscription_id, s.code_id, s.selection_kind as kind, s.selection_names as names, s.selector
    from registry.provider_subscription s
    where ($1::uuid[] is null or s.subscription_id = any($1)) and coalesce(s.selector -> 'assets' ->> 'filter', '') = ''
),
listing as (
    select c.code_id,
        coalesce(v.manifest -> 'capabilities', '[]') ? 'PROVIDER_CAPABILITY_SYMBOLS'
            and exists (select from registry.assets a where a.code_id = c.code_id) as lists
    from registry.code_registry c
    join registry.code_versions v on v.code_id = c.code_id and v.version = coalesce(c.active_version, c.latest_version)
    where c.code_id in (select code_id from chosen)
),
named as (
    select c.subscription_id, c.code_id, c.kind, n.name
    from chosen c cross join lateral unnest(c.names) n (name)
),
members as (
    select n.subscription_id, n.code_id, n.name as index_name, i.index_id,
        coalesce(m.common_symbol_id, am.common_symbol_id) as common_symbol_id,
        case when a.code_id = n.code_id then a.asset_id end as own_asset_id,
        coalesce(s.symbol, sa.symbol, a.symbol) as member_name
    from named n
    left join registry.indices i on lower(i.name) = lower(n.name)
    left join registry.index_memberships m on m.index_id = i.index_id and m.valid_to = 'infinity'
    left join registry.assets a on a.asset_id = m.asset_id
    left join registry.asset_mapping am on am.asset_id = a.asset_id and am.active
    left join registry.common_symbols s on s.common_symbol_id = m.common_symbol_id
    left join registry.common_symbols sa on sa.common_symbol_id = am.common_symbol_id
    where n.kind = 'index' and (i.index_id is null or m.membership_id is not null)
),
found as (
    select n.subscription_id, n.name as symbol, a.asset_id, n.name,
        case when a.asset_id is null and l.lists then 'UNKNOWN_SYMBOL' end as cause
    from named n
    join listing l on l.code_id = n.code_id
    left join registry.assets a on a.code_id = n.code_id and a.symbol = n.name
    where n.kind in ('symbol', 'symbols')
    union all
    select n.subscription_id, a.symbol, a.asset_id, n.name,
        case when s.common_symbol_id is null then 'UNKNOWN_COMMON_SYMBOL' when a.asset_id is null then 'UNMAPPED' end
    from named n
    left join registry.common_symbols s on lower(s.symbol) = lower(n.name)
    left join registry.asset_mapping m on m.common_symbol_id = s.common_symbol_id and m.code_id = n.code_id and m.active
    left join registry.assets a on a.asset_id = m.asset_id
    where n.kind in ('common_symbol', 'common_symbols')
    union all
    select n.subscription_id, a.symbol, a.asset_id, case when n.index_id is null then n.index_name else n.member_name end,
        case when n.index_id is null then 'UNKNOWN_INDEX' when a.asset_id is null then 'UNMAPPED' end
    from members n
    left join registry.asset_mapping m on m.common_symbol_id = n.common_symbol_id and m.code_id = n.code_id and m.active
    left join registry.assets a on a.asset_id = coalesce(n.own_asset_id, m.asset_id)
    union all
    select c.subscription_id, a.symbol, a.asset_id, a.symbol, null
    from chosen c
    join registry.assets a on a.code_id = c.code_id and a.state = 'LISTED'
    where c.kind = 'assets'
        and (not (c.selector -> 'assets') ? 'asset_classes' or (c.selector -> 'assets' -> 'asset_classes') ? a.asset_class)
        and (not (c.selector -> 'assets') ? 'exchanges' or (c.selector -> 'assets' -> 'exchanges') ? a.exchange)
        and (not (c.selector -> 'assets') ? 'quote_currencies' or (c.selector -> 'assets' -> 'quote_currencies') ? a.quote_currency)
),
wanted as (
    select distinct on (subscription_id, symbol) subscription_id, symbol, asset_id
    from found where cause is null
    order by subscription_id, symbol, asset_id
),
lacking as (
    select distinct on (subscription_id, name) subscription_id, name, cause
    from found where cause is not null
    order by subscription_id, name, cause
),
left_out as (
    delete from registry.subscription_symbols t
    using chosen c
    where t.subscription_id = c.subscription_id
        and not exists (select from wanted w where w.subscription_id = t.subscription_id and w.symbol = t.symbol)
    returning 1
),
taken_in as (
    insert into registry.subscription_symbols as t (subscription_id, code_id, symbol, asset_id, resolved_at)
    select w.subscription_id, c.code_id, w.symbol, w.asset_id, $2 from wanted w join chosen c on c.subscription_id = w.subscription_id
    on conflict (subscription_id, symbol) do update set asset_id = excluded.asset_id, resolved_at = excluded.resolved_at
    where t.asset_id is distinct from excluded.asset_id
    returning 1
),
solved as (
    delete from registry.subscription_unresolved t
    using chosen c
    where t.subscription_id = c.subscription_id
        and not exists (select from lacking l where l.subscription_id = t.subscription_id and l.name = t.name)
    returning 1
),
open as (
    insert into registry.subscription_unresolved as t (subscription_id, code_id, name, cause)
    select l.subscription_id, c.code_id, l.name, l.cause from lacking l join chosen c on c.subscription_id = l.subscription_id
    on conflict (subscription_id, name) do update set cause = excluded.cause where t.cause <> excluded.cause
    returning 1
)
select (select count(*) from left_out) + (select count(*) from taken_in)
    + (select count(*) from solved) + (select count(*) from open);

-- name: subscription_resolve_filtered
-- The same for one selection ($1 of provider $2, at $3) with a filter text; {filter} is a condition on assets with parameters from $7 on.
with wanted as (
    select d.symbol, d.asset_id
    from registry.asset_details d
    where d.code_id = $2 and d.state = 'LISTED'
        and ($4::text[] is null or d.asset_class = any($4))
        and ($5::text[] is null or d.exchange = any($5))
        and ($6::text[] is null or d.quote_currency = any($6))
        and {filter}
),
left_out as (
    delete from registry.subscription_symbols t
    where t.subscription_id = $1 and not exists (select from wanted w where w.symbol = t.symbol)
    returning 1
),
taken_in as (
    insert into registry.subscription_symbols as t (subscription_id, code_id, symbol, asset_id, resolved_at)
    select $1, $2, w.symbol, w.asset_id, $3 from wanted w
    on conflict (subscription_id, symbol) do update set asset_id = excluded.asset_id, resolved_at = excluded.resolved_at
    where t.asset_id is distinct from excluded.asset_id
    returning 1
)
select (select count(*) from left_out) + (select count(*) from taken_in);

-- name: subscription_filtered
-- Selections with a filter text: of the subscriptions in $1, or of all when it is null.
select subscription_id, code_id, selector -> 'assets' as assets
from registry.provider_subscription
where ($1::uuid[] is null or subscription_id = any($1)) and coalesce(selector -> 'assets' ->> 'filter', '') <> '';

-- name: selection_bump
-- What is selected changed; whoever changes it next waits for the end of this transaction, so it stands late in it.
update registry.selection_revision set revision = revision + 1 returning revision;

-- name: selection_revision
select revision from registry.selection_revision;

-- name: selection_turn
-- One at a time brings all selections up to date; false: somebody does it already.
select pg_try_advisory_xact_lock(hashtextextended('registry selections', 0));

-- name: series_total
-- How many series are selected by all subscriptions together.
select count(*) from (
    select distinct s.code_id, s.interval, t.symbol
    from registry.provider_subscription s join registry.subscription_symbols t using (subscription_id)
) series;

-- name: series_of
-- How many series these subscriptions select, and how many of them no other one selects.
select count(*) as total, count(*) filter (where not others) as own
from (
    select s.code_id, s.interval, t.symbol,
        exists (
            select from registry.subscription_symbols o
            join registry.provider_subscription p on p.subscription_id = o.subscription_id
            where o.symbol = t.symbol and p.code_id = s.code_id and p.interval = s.interval and not p.subscription_id = any($1)
        ) as others
    from registry.provider_subscription s join registry.subscription_symbols t using (subscription_id)
    where s.subscription_id = any($1)
    group by s.code_id, s.interval, t.symbol
) series;

-- name: series_released
-- Series that are collected because of these subscriptions alone.
select count(*) from (
    select distinct s.code_id, s.interval, t.symbol
    from registry.provider_subscription s join registry.subscription_symbols t using (subscription_id)
    where s.subscription_id = any($1) and s.state = 'ACTIVE'
        and not exists (
            select from registry.subscription_symbols o
            join registry.provider_subscription p on p.subscription_id = o.subscription_id
            where o.symbol = t.symbol and p.code_id = s.code_id and p.interval = s.interval and p.state = 'ACTIVE'
                and not p.subscription_id = any($1)
        )
) series;

-- name: subscriptions_by_ids
select s.*, c.active_version is not null as provider_active,
    (select count(*) from registry.subscription_symbols t where t.subscription_id = s.subscription_id) as series_count,
    (select count(*) from registry.subscription_unresolved u where u.subscription_id = s.subscription_id) as unresolved_count
from registry.provider_subscription s join registry.code_registry c using (code_id)
where s.subscription_id = any($1);

-- name: subscription_page
with page as (select s.subscription_id from registry.provider_subscription s where {filter} and {after} order by {order} limit $1)
select {key} as order_key, s.*, c.active_version is not null as provider_active,
    (select count(*) from registry.subscription_symbols t where t.subscription_id = s.subscription_id) as series_count,
    (select count(*) from registry.subscription_unresolved u where u.subscription_id = s.subscription_id) as unresolved_count
from page join registry.provider_subscription s on s.subscription_id = page.subscription_id
join registry.code_registry c on c.code_id = s.code_id
order by {order};

-- name: subscription_lock_ids
-- In one order for everybody, so that batches do not wait for each other in a circle.
select subscription_id, revision, state from registry.provider_subscription
where subscription_id = any($1)
order by subscription_id
for update;

-- name: subscription_ids_where
select s.subscription_id from registry.provider_subscription s where {filter} order by s.subscription_id;

-- name: subscription_marks
-- What a watcher compares: which subscriptions pass its filter, and which revision they have. The selection counts too.
select s.subscription_id, s.revision,
    (select count(*) from registry.subscription_symbols t where t.subscription_id = s.subscription_id) as series_count,
    (select count(*) from registry.subscription_unresolved u where u.subscription_id = s.subscription_id) as unresolved_count,
    c.active_version is not null as provider_active
from registry.provider_subscription s join registry.code_registry c using (code_id)
where {filter};

-- name: subscription_set_state
-- Returns those that were in another state.
update registry.provider_subscription
set state = $2, pause_reason = $3, updated_at = $4, revision = revision + 1
where subscription_id = any($1) and state <> $2
returning subscription_id;

-- name: subscription_delete
delete from registry.provider_subscription where subscription_id = any($1);

-- name: subscription_update
-- One subscription, all that can change.
update registry.provider_subscription
set interval = $2, selection_kind = $3, selection_name = $4,
    selection_names = case when $3 = 'assets' then '{}'::text[]
        else array(select jsonb_array_elements_text(jsonb_path_query_array($6::jsonb, 'lax $.*[*]'))) end,
    selection_key = $5, selector = $6, historical = $7, live = $8, store_ticks = $9, cron = $10, time_zone = $11,
    backfill_start = $12, note = $13, updated_at = $14, tick_kinds = $15, revision = revision + 1
where subscription_id = $1;

-- name: subscription_update_all
-- Many subscriptions, the fields that a batch may change; $2 names those that are taken. Returns those that changed.
update registry.provider_subscription s
set historical = case when 'historical' = any($2) then $3 else s.historical end,
    live = case when 'live' = any($2) then $4 else s.live end,
    store_ticks = case when 'store_ticks' = any($2) then $5 else s.store_ticks end,
    cron = case when 'cron' = any($2) then $6 else s.cron end,
    time_zone = case when 'time_zone' = any($2) then $7 else s.time_zone end,
    backfill_start = case when 'backfill_start' = any($2) then $8 else s.backfill_start end,
    note = case when 'note' = any($2) then $9 else s.note end,
    tick_kinds = case when 'tick_kinds' = any($2) then $11 else s.tick_kinds end,
    updated_at = $10, revision = s.revision + 1
where s.subscription_id = any($1)
    and (
        ('historical' = any($2) and s.historical <> $3)
        or ('live' = any($2) and s.live <> $4)
        or ('store_ticks' = any($2) and s.store_ticks <> $5)
        or ('cron' = any($2) and s.cron <> $6)
        or ('time_zone' = any($2) and s.time_zone <> $7)
        or ('backfill_start' = any($2) and s.backfill_start is distinct from $8)
        or ('note' = any($2) and s.note <> $9)
        or ('tick_kinds' = any($2) and s.tick_kinds <> $11)
    )
returning s.subscription_id;

-- name: subscription_series_keys
-- The series of subscriptions, for their status.
select t.subscription_id, s.provider, t.symbol, s.interval
from registry.provider_subscription s join registry.subscription_symbols t using (subscription_id)
where s.subscription_id = any($1)
order by t.subscription_id, t.symbol
limit $2;
