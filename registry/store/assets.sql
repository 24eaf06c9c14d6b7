-- name: source_find
-- A provider or broker with what its active (or newest) version says of itself.
select c.code_id, c.kind, c.name, c.active_version is not null as active, v.manifest, c.preferences
from code_registry c
join code_versions v on v.code_id = c.code_id and v.version = coalesce(c.active_version, c.latest_version)
where c.kind = $1 and lower(c.name) = lower($2) and c.deleted_at is null;

-- name: source_find_with_deleted
-- The same for readers of what is left of a deleted source.
select c.code_id, c.kind, c.name, false as active, '{}'::jsonb as manifest, c.preferences
from code_registry c where c.kind = $1 and lower(c.name) = lower($2);

-- name: sources_all
select c.code_id, c.kind, c.name, c.active_version is not null as active, v.manifest, c.preferences
from code_registry c
join code_versions v on v.code_id = c.code_id and v.version = coalesce(c.active_version, c.latest_version)
where c.kind in ('provider', 'broker') and c.deleted_at is null
order by c.kind, c.name;

-- name: asset_lock_source
-- Whoever adds or removes assets of a source takes turns.
select pg_advisory_xact_lock(hashtextextended('registry assets of ' || $1::integer, 0));

-- name: asset_stage
create temp table staged_assets (
    symbol text, external_id text, source_identity text, matcher_symbol text, name text, exchange text, asset_class text,
    base_currency text, quote_currency text, country text, root_symbol text, full_symbol text, match_key text, name_key text,
    identity_group text, price_increment numeric, size_increment numeric, minimum_size numeric, minimum_notional numeric,
    multiplier numeric, expires_at timestamptz, identity_id text not null default ''
) on commit drop;

-- name: asset_unstage
drop table if exists staged_assets;

-- name: asset_analyze_staged
analyze staged_assets (symbol);

-- name: asset_stage_identities
-- The source's own identifiers as identities: the row of a manifest that has the identifier, on the same exchange where it is known, else
-- the identifier itself.
update staged_assets s
set identity_id = coalesce(
    (
        select i.identity_id from identities i
        where s.source_identity in (i.figi, i.composite_figi, i.share_class_figi, i.isin)
            and (i.figi = s.source_identity or i.exchange = s.exchange or s.exchange = '')
            and not i.withdrawn and i.valid_from <= $1 and $1 < i.valid_to
        group by i.identity_id
        order by bool_or(i.figi = s.source_identity) desc, bool_or(i.exchange = s.exchange) desc, i.identity_id
        limit 1
    ),
    case when s.source_identity ~ '^..G' or s.exchange = '' then s.source_identity else s.source_identity || '@' || s.exchange end
)
where s.source_identity <> '';

-- name: asset_has_manual
select exists (select from assets where code_id = $1 and manual_fields <> '{}');

-- name: asset_stage_manual
-- Fields that somebody set by hand are not the source's to change.
update staged_assets s
set name = case when 'name' = any (a.manual_fields) then a.name else s.name end,
    name_key = case when 'name' = any (a.manual_fields) then a.name_key else s.name_key end,
    exchange = case when 'exchange' = any (a.manual_fields) then a.exchange else s.exchange end,
    asset_class = case when 'asset_class' = any (a.manual_fields) then a.asset_class else s.asset_class end,
    base_currency = case when 'base_currency' = any (a.manual_fields) then a.base_currency else s.base_currency end,
    quote_currency = case when 'quote_currency' = any (a.manual_fields) then a.quote_currency else s.quote_currency end,
    country = case when 'country' = any (a.manual_fields) then a.country else s.country end,
    matcher_symbol = case when 'matcher_symbol' = any (a.manual_fields) then a.matcher_symbol else s.matcher_symbol end,
    expires_at = case when 'expire_time' = any (a.manual_fields) then a.expires_at else s.expires_at end,
    price_increment = case when 'trading_rules' = any (a.manual_fields) then a.price_increment else s.price_increment end,
    size_increment = case when 'trading_rules' = any (a.manual_fields) then a.size_increment else s.size_increment end,
    minimum_size = case when 'trading_rules' = any (a.manual_fields) then a.minimum_size else s.minimum_size end,
    minimum_notional = case when 'trading_rules' = any (a.manual_fields) then a.minimum_notional else s.minimum_notional end,
    multiplier = case when 'trading_rules' = any (a.manual_fields) then a.multiplier else s.multiplier end,
    identity_group = case when 'asset_class' = any (a.manual_fields) then a.identity_group else s.identity_group end,
    match_key = case when a.manual_fields && '{asset_class,base_currency,quote_currency,matcher_symbol}' then a.match_key else s.match_key end,
    root_symbol = case when a.manual_fields && '{asset_class,base_currency,quote_currency}' then a.root_symbol else s.root_symbol end,
    identity_id = case when 'identity_id' = any (a.manual_fields) then '' else s.identity_id end
from assets a
where a.code_id = $1 and a.symbol = s.symbol and a.manual_fields <> '{}';

-- name: asset_merge
-- One statement for a batch: what changed is updated, what is new inserted, what is as it was stays untouched. Nobody has to decide any
-- more about what the source identifies itself or tells to be of another group; an identity that the matcher found in the former group goes.
with known as (
    select a.asset_id, a.state as former_state, a.identity_group as former_group, s.*,
        (a.external_id, a.source_identity, a.matcher_symbol, a.name, a.exchange, a.asset_class, a.base_currency, a.quote_currency, a.country,
            a.root_symbol, a.full_symbol, a.match_key, a.price_increment, a.size_increment, a.minimum_size, a.minimum_notional,
            a.multiplier, a.expires_at)
        is distinct from
        (s.external_id, s.source_identity, s.matcher_symbol, s.name, s.exchange, s.asset_class, s.base_currency, s.quote_currency, s.country,
            s.root_symbol, s.full_symbol, s.match_key, s.price_increment, s.size_increment, s.minimum_size, s.minimum_notional,
            s.multiplier, s.expires_at)
 as changed,
        s.identity_id <> '' and a.identity_origin <> 'MANUAL' and a.identity_id <> s.identity_id as given,
        s.identity_id = '' and a.identity_origin = 'MATCHER' and a.identity_group <> s.identity_group as lost
    from staged_assets s
    join assets a on a.code_id = $1 and a.symbol = s.symbol
),
updated as (
    update assets a
    set external_id = k.external_id, source_identity = k.source_identity, matcher_symbol = k.matcher_symbol, name = k.name,
        exchange = k.exchange, asset_class = k.asset_class, base_currency = k.base_currency, quote_currency = k.quote_currency,
        country = k.country, root_symbol = k.root_symbol, full_symbol = k.full_symbol, match_key = k.match_key, name_key = k.name_key,
        identity_group = k.identity_group, price_increment = k.price_increment, size_increment = k.size_increment,
        minimum_size = k.minimum_size, minimum_notional = k.minimum_notional, multiplier = k.multiplier, expires_at = k.expires_at,
        identity_id = case when k.given then k.identity_id when k.lost then '' else a.identity_id end,
        identity_origin = case when k.given then 'PROVIDER' when k.lost then '' else a.identity_origin end,
        match_method = case when k.given then 'PROVIDER_ID' when k.lost then '' else a.match_method end,
        match_confidence = case when k.given or k.lost then null else a.match_confidence end,
        match_reason = case when k.given or k.lost then '' else a.match_reason end,
        matched_at = case when k.given then $2 when k.lost then null else a.matched_at end,
        identity_state = case
            when k.given or (a.identity_id <> '' and not k.lost) then 'IDENTIFIED'
            when k.identity_group = '' then 'NOT_APPLICABLE'
            when a.identity_state = 'PROPOSED' and k.identity_group = k.former_group then 'PROPOSED'
            else 'UNIDENTIFIED' end,
        state = 'LISTED', vanished_at = null, last_seen_at = $2, updated_at = $2, revision = a.revision + 1
    from known k
    where a.asset_id = k.asset_id and (k.changed or k.given or k.former_state = 'VANISHED')
    returning 1
),
settled as (
    update match_proposals p
    set state = 'SUPERSEDED', decided_at = $2, revision = p.revision + 1
    from known k
    where p.asset_id = k.asset_id and p.state = 'OPEN' and (k.given or k.identity_group <> k.former_group)
),
added as (
    insert into assets (
        code_id, symbol, external_id, source_identity, matcher_symbol, name, exchange, asset_class, base_currency, quote_currency, country,
        root_symbol, full_symbol, match_key, name_key, identity_group, price_increment, size_increment, minimum_size, minimum_notional,
        multiplier, expires_at, identity_id, identity_origin, match_method, matched_at, identity_state, first_seen_at, last_seen_at, updated_at
    )
    select $1, symbol, external_id, source_identity, matcher_symbol, name, exchange, asset_class, base_currency, quote_currency, country,
        root_symbol, full_symbol, match_key, name_key, identity_group, price_increment, size_increment, minimum_size, minimum_notional,
        multiplier, expires_at, identity_id,
        case when identity_id <> '' then 'PROVIDER' else '' end,
        case when identity_id <> '' then 'PROVIDER_ID' else '' end,
        case when identity_id <> '' then $2 end,
        case when identity_id <> '' then 'IDENTIFIED' when identity_group = '' then 'NOT_APPLICABLE' else 'UNIDENTIFIED' end,
        $2, $2, $2
    from staged_assets s
    where not exists (select from known k where k.symbol = s.symbol)
    order by symbol -- neighbours go into the same page of an index
    returning 1
)
select (select count(*) from added) as added, (select count(*) from updated) as updated,
    count(*) as known, count(*) filter (where former_state = 'VANISHED') as returned
from known;

-- name: asset_stage_seen
create temp table seen_symbols (symbol text not null) on commit drop;

-- name: asset_analyze_seen
analyze seen_symbols;

-- name: asset_vanish
-- What the source listed before and does not list any more.
update assets a
set state = 'VANISHED', vanished_at = $2, updated_at = $2, revision = revision + 1
where a.code_id = $1 and a.state = 'LISTED' and not exists (select from seen_symbols s where s.symbol = a.symbol);

-- name: asset_synced
insert into asset_syncs (code_id, operation_id, completed_at) values ($1, $2, $3)
on conflict (code_id) do update set operation_id = excluded.operation_id, completed_at = excluded.completed_at;

-- name: asset_known_count
select count(*) from assets where code_id = $1;

-- name: asset_one
select d.* from asset_details d where d.source_kind = $1 and lower(d.source_name) = lower($2) and d.symbol = $3;

-- name: asset_lock
-- Take one asset for the rest of the transaction.
select a.asset_id from assets a join code_registry c on c.code_id = a.code_id
where c.kind = $1 and lower(c.name) = lower($2) and a.symbol = $3
for update of a;

-- name: asset_by_id
select d.* from asset_details d where d.asset_id = $1;

-- name: assets_by_ids
select d.* from asset_details d where d.asset_id = any ($1::bigint[]);

-- name: asset_page
-- A page in any order. {filter}, {after}, {order} and {key} are written by the service.
with page as (
    select d.asset_id from asset_details d where {filter} and {after} order by {order} limit $1
)
select {key} as order_key, d.* from page join asset_details d on d.asset_id = page.asset_id order by {order};

-- name: asset_sources
-- The sources that a list covers, in its order.
select c.code_id from code_registry c where c.kind in ('provider', 'broker') and {filter} order by {order};

-- name: asset_walk
-- A page along an index; no more than $2 rows are looked at. The inner order is kept: nothing above it sorts or joins.
with page as (
    select w.asset_id, w.order_key
    from (
        select d.asset_id, {key} as order_key, {filter} as passes
        from asset_details d where {segment} and {after} order by {order} limit $2
    ) w
    where w.passes limit $1
)
select page.order_key, d.* from page join asset_details d on d.asset_id = page.asset_id order by {order};

-- name: asset_edge
select {key} as order_key from assets d where {segment} and {after} order by {order} offset $1::bigint - 1 limit 1;

-- name: asset_passed
select count(*) from (select from assets d where {segment} and {after} limit $1) passed;

-- name: asset_crowd
select count(*) from (select from assets where code_id = any ($2::integer[]) limit $1) found;

-- name: asset_total
select count(*) from asset_details d where {filter};

-- name: asset_counts
-- How many assets have each value of one dimension, the most frequent first, and how many values there are.
select value, count, value_count from (
    select {dimension} as value, count(*) as count, count(*) over () as value_count
    from asset_details d where {filter} group by 1
) counted
order by count desc, value limit 1000;

-- name: asset_quote_currencies
select quote_currency as currency, count(*) as asset_count from assets
where code_id = $1 and asset_class = $2 and quote_currency <> '' group by 1 order by 1;

-- name: asset_update
-- A change by hand, with everything that follows from it.
update assets
set name = $2, name_key = $3, exchange = $4, asset_class = $5, identity_group = $6, base_currency = $7, quote_currency = $8, country = $9,
    matcher_symbol = $10, match_key = $11, root_symbol = $12, expires_at = $13, price_increment = $14, size_increment = $15,
    minimum_size = $16, minimum_notional = $17, multiplier = $18, identity_id = $19, identity_origin = $20, match_method = $21,
    match_confidence = $22, match_reason = $23, matched_at = $24, identity_state = $25, manual_fields = $26, updated_at = $27,
    revision = revision + 1
where asset_id = $1;

-- name: asset_identity_holder
-- Another asset of the same source that has an identity already.
select symbol from assets where code_id = $1 and identity_id = $2 and asset_id <> $3 limit 1;
