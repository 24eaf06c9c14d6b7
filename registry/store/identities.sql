-- name: identity_manifest_lock
-- Imports of one name take turns.
select pg_advisory_xact_lock(hashtextextended('registry identities ' || $1, 0));

-- name: identity_manifest_current
select m.* from identity_manifests m where m.name = $1 order by m.version desc limit 1;

-- name: identity_manifest_by_version
-- Version 0 is the newest.
select m.*, m.version = (select max(n.version) from identity_manifests n where n.name = m.name) as current
from identity_manifests m
where m.name = $1 and ($2::integer = 0 or m.version = $2)
order by m.version desc limit 1;

-- name: identity_manifest_insert
insert into identity_manifests (name, version, file_name, format, mode, sha256, size_bytes, rows, added, updated, unchanged, withdrawn, rejected,
    created_at, created_by, settings)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
returning *, true as current;

-- name: identity_manifest_page
select {key} as order_key, m.* from (
    select m.*, m.version = max(m.version) over (partition by m.name) as current from identity_manifests m
) m
where {filter} and {after} order by {order} limit $1;

-- name: identity_any_manifest
select exists (select from identity_manifests);

-- name: identity_stage
create temp table staged_identities (
    identity_id text, figi text, composite_figi text, share_class_figi text, isin text, cusip text, exchange text, symbol text, name text,
    asset_class text, identity_group text, currency text, country text, valid_from timestamptz, valid_to timestamptz, aliases text[],
    match_key text, name_key text
) on commit drop;

-- name: identity_prepare_staged
-- What is valid since ever or still gets its bound, so that one comparison fits all.
update staged_identities
set valid_from = coalesce(valid_from, '-infinity'), valid_to = coalesce(valid_to, 'infinity')
where valid_from is null or valid_to is null;

-- name: identity_analyze_staged
analyze staged_identities (identity_id);

-- name: identity_patience
-- An import or a match may take longer than a call.
set local statement_timeout = '30min';

-- name: identity_merge
-- One statement: what changed is updated, what is new inserted, what a snapshot lacks is withdrawn, what is as it was stays untouched.
with known as (
    select i.identity_row, s.*,
        i.withdrawn or (i.figi, i.composite_figi, i.share_class_figi, i.isin, i.cusip, i.name, i.asset_class, i.currency, i.country, i.valid_to,
            i.aliases, i.match_key)
        is distinct from (s.figi, s.composite_figi, s.share_class_figi, s.isin, s.cusip, s.name, s.asset_class, s.currency, s.country, s.valid_to,
            s.aliases, s.match_key) as changed
    from staged_identities s
    join identities i on i.manifest = $1 and i.identity_id = s.identity_id and i.exchange = s.exchange and i.symbol = s.symbol
        and i.valid_from = s.valid_from
),
updated as (
    update identities i
    set figi = k.figi, composite_figi = k.composite_figi, share_class_figi = k.share_class_figi, isin = k.isin, cusip = k.cusip, name = k.name,
        name_key = k.name_key, asset_class = k.asset_class, identity_group = k.identity_group, currency = k.currency, country = k.country,
        valid_to = k.valid_to, aliases = k.aliases, match_key = k.match_key, withdrawn = false, manifest_version = $2, updated_at = $3
    from known k
    where i.identity_row = k.identity_row and k.changed
    returning 1
),
added as (
    insert into identities (
        identity_id, figi, composite_figi, share_class_figi, isin, cusip, exchange, symbol, name, asset_class, identity_group, currency, country,
        valid_from, valid_to, aliases, match_key, name_key, manifest, manifest_version, created_at, updated_at
    )
    select s.identity_id, s.figi, s.composite_figi, s.share_class_figi, s.isin, s.cusip, s.exchange, s.symbol, s.name, s.asset_class,
        s.identity_group, s.currency, s.country, s.valid_from, s.valid_to, s.aliases, s.match_key, s.name_key, $1, $2, $3, $3
    from staged_identities s
    where not exists (
        select from known k
        where k.identity_id = s.identity_id and k.exchange = s.exchange and k.symbol = s.symbol and k.valid_from = s.valid_from
    )
    returning 1
),
withdrawn as (
    update identities i set withdrawn = true, manifest_version = $2, updated_at = $3
    where $4 and i.manifest = $1 and not i.withdrawn and not exists (select from known k where k.identity_row = i.identity_row)
    returning 1
)
select (select count(*) from added) as added, (select count(*) from updated) as updated, (select count(*) from withdrawn) as withdrawn,
    count(*) as known
from known;

-- name: identity_page
select {key} as order_key, i.identity_row, i.identity_id, i.figi, i.composite_figi, i.share_class_figi, i.isin, i.cusip, i.exchange, i.symbol,
    i.aliases, i.name, i.asset_class, i.identity_group, i.currency, i.country, nullif(i.valid_from, '-infinity') as valid_from,
    nullif(i.valid_to, 'infinity') as valid_to, i.manifest, i.manifest_version, i.withdrawn, i.name_key, i.match_key
from identities i
where ($2::timestamptz is null or (i.valid_from <= $2 and $2 < i.valid_to)) and {filter} and {after}
order by {order} limit $1;

-- name: identity_walk
-- A page along the symbols; no more than $2 rows are looked at.
with page as (
    select w.identity_row, w.order_key
    from (
        select i.identity_row, {key} as order_key,
            ($3::timestamptz is null or (i.valid_from <= $3 and $3 < i.valid_to)) and {filter} as passes
        from identities i where {segment} and {after} order by {order} limit $2
    ) w
    where w.passes limit $1
)
select page.order_key, i.identity_row, i.identity_id, i.figi, i.composite_figi, i.share_class_figi, i.isin, i.cusip, i.exchange, i.symbol,
    i.aliases, i.name, i.asset_class, i.identity_group, i.currency, i.country, nullif(i.valid_from, '-infinity') as valid_from,
    nullif(i.valid_to, 'infinity') as valid_to, i.manifest, i.manifest_version, i.withdrawn, i.name_key, i.match_key
from page join identities i on i.identity_row = page.identity_row order by {order};

-- name: identity_edge
select {key} as order_key from identities i where {segment} and {after} order by {order} offset $1::bigint - 1 limit 1;

-- name: identity_passed
select count(*) from (select from identities i where {segment} and {after} limit $1) passed;

-- name: identity_crowd
select count(*) from (select from identities limit $1) found;

-- name: identity_periods
-- Every period of an identity, newest first; rows of several manifests stand beside each other.
select i.identity_row, i.identity_id, i.figi, i.composite_figi, i.share_class_figi, i.isin, i.cusip, i.exchange, i.symbol,
    i.aliases, i.name, i.asset_class, i.identity_group, i.currency, i.country, nullif(i.valid_from, '-infinity') as valid_from,
    nullif(i.valid_to, 'infinity') as valid_to, i.manifest, i.manifest_version, i.withdrawn, i.name_key, i.match_key
from identities i where i.identity_id = $1
order by i.valid_from desc, i.valid_to desc, i.identity_row;

-- name: identity_rows
select i.identity_row, i.identity_id, i.figi, i.composite_figi, i.share_class_figi, i.isin, i.cusip, i.exchange, i.symbol,
    i.aliases, i.name, i.asset_class, i.identity_group, i.currency, i.country, nullif(i.valid_from, '-infinity') as valid_from,
    nullif(i.valid_to, 'infinity') as valid_to, i.manifest, i.manifest_version, i.withdrawn, i.name_key, i.match_key
from identities i where i.identity_row = any ($1::bigint[]);

-- name: identity_groups
select distinct identity_group from identities where identity_id = $1 and not withdrawn;

-- name: identity_asset_count
select count(*) from assets where identity_id = $1;

-- name: identity_assets
select d.* from asset_details d where d.identity_id = $1 order by d.source_kind, d.source_name, d.symbol limit 1000;

-- name: identity_common_symbols
select distinct s.symbol from assets a
join asset_mapping m on m.asset_id = a.asset_id
join common_symbols s on s.common_symbol_id = m.common_symbol_id
where a.identity_id = $1 order by 1;

-- name: identity_by_symbol
-- Valid rows whose symbol or alias equals a key; $2: any group when empty; $3: class, any when empty.
select i.identity_row, i.identity_id, i.figi, i.composite_figi, i.share_class_figi, i.isin, i.cusip, i.exchange, i.symbol,
    i.aliases, i.name, i.asset_class, i.identity_group, i.currency, i.country, nullif(i.valid_from, '-infinity') as valid_from,
    nullif(i.valid_to, 'infinity') as valid_to, i.manifest, i.manifest_version, i.withdrawn, i.name_key, i.match_key
from identities i
where (i.match_key = $1 or (i.aliases <> '{}' and i.aliases @> array[$1::text])) and ($2 = '' or i.identity_group = $2)
    and ($3 = '' or i.asset_class = $3) and not i.withdrawn and i.valid_from <= $4 and $4 < i.valid_to
order by i.identity_id limit 200;

-- name: identity_by_number
-- Valid rows that have a FIGI of any level, an ISIN, or are that identity.
select i.identity_row, i.identity_id, i.figi, i.composite_figi, i.share_class_figi, i.isin, i.cusip, i.exchange, i.symbol,
    i.aliases, i.name, i.asset_class, i.identity_group, i.currency, i.country, nullif(i.valid_from, '-infinity') as valid_from,
    nullif(i.valid_to, 'infinity') as valid_to, i.manifest, i.manifest_version, i.withdrawn, i.name_key, i.match_key
from identities i
where (i.figi = $1 or i.composite_figi = $1 or i.share_class_figi = $1 or i.isin = $1 or i.identity_id = $1) and not i.withdrawn
    and i.valid_from <= $2 and $2 < i.valid_to
order by i.identity_id limit 200;

-- name: identity_rejection_page
select position, line, field, value, message from identity_rejections where manifest_id = $2 and position > $3 order by position limit $1;

-- name: upload_insert
insert into manifest_uploads (upload_id, file_name, size_bytes, sha256, created_at, created_by, touched_at)
values ($1, $2, $3, $4, $5, $6, $5)
on conflict (upload_id) do update set touched_at = excluded.touched_at;

-- name: upload_prune
delete from manifest_uploads where touched_at < $1;

-- name: upload_open_count
select count(*) from manifest_uploads;

-- name: upload_find
select upload_id, file_name, size_bytes, sha256, touched_at from manifest_uploads where upload_id = $1 and touched_at >= $2;

-- name: upload_lock
select upload_id, file_name, size_bytes, sha256, touched_at from manifest_uploads where upload_id = $1 and touched_at >= $2 for update;

-- name: upload_extents
select part_start, octet_length(content) as size from manifest_parts where upload_id = $1 order by part_start;

-- name: upload_put_part
insert into manifest_parts (upload_id, part_start, content) values ($1, $2, $3)
on conflict (upload_id, part_start) do update set content = excluded.content, number = default;

-- name: upload_touch
update manifest_uploads set touched_at = $2 where upload_id = $1;

-- name: upload_parts
select part_start, content from manifest_parts where upload_id = $1 order by number;

-- name: upload_delete
delete from manifest_uploads where upload_id = $1;
