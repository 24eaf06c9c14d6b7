-- name: code_entries
-- Entries with the manifest of the active version, or of the newest one. {filter} and {order} are written by the service.
select {key} as order_key, c.*, v.version as manifest_version, v.manifest,
    (select count(*) from registry.code_versions n where n.code_id = c.code_id) as version_count,
    coalesce(s.names, '{{}}') as secret_names
from registry.code_registry c
join registry.code_versions v on v.code_id = c.code_id and v.version = coalesce(c.active_version, c.latest_version)
left join (select code_id, names from registry.code_secrets) s on s.code_id = c.code_id
where c.deleted_at is null and {filter}
order by {order}
limit $1;

-- name: code_count
select count(*)
from registry.code_registry c
join registry.code_versions v on v.code_id = c.code_id and v.version = coalesce(c.active_version, c.latest_version)
where c.deleted_at is null and {filter};

-- name: code_lock
-- Take the entry for the rest of the transaction, whether it is deleted or not.
select code_id, name, built_in, deleted_at, latest_version from registry.code_registry
where kind = $1 and lower(name) = lower($2)
for update;

-- name: code_insert
-- A new name; nothing where somebody else was first.
insert into registry.code_registry (kind, name, built_in, created_by, created_at, updated_at)
values ($1, $2, $3, $4, $5, $5)
on conflict (kind, lower(name)) do nothing;

-- name: code_revive
-- The name of a deleted entry is used again: it begins anew, and goes on counting versions.
update registry.code_registry
set name = $2, deleted_at = null, created_by = $3, created_at = $4, preferences = '{}', preferences_set_at = null,
    preferences_set_by = null, preferences_revision = preferences_revision + 1
where code_id = $1;

-- name: code_touch
update registry.code_registry set revision = revision + 1, updated_at = $2 where code_id = $1;

-- name: code_insert_version
with numbered as (
    update registry.code_registry set latest_version = latest_version + 1 where code_id = $1 returning latest_version
)
insert into registry.code_versions (
    code_id, version, sha256, file_name, source, size_bytes, file_count, manifest, report, note, created_at, created_by
)
select $1, n.latest_version, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11 from numbered n
returning version;

-- name: code_put_built_in
-- Built-in code has version 1 only, whose manifest changes with the platform.
insert into registry.code_versions as v (code_id, version, sha256, file_name, source, size_bytes, file_count, manifest, activated_at)
values ($1, 1, $2, $3, null, $4, 1, $5, $6)
on conflict (code_id, version) do update
set sha256 = excluded.sha256, file_name = excluded.file_name, size_bytes = excluded.size_bytes, manifest = excluded.manifest
where v.sha256 <> excluded.sha256 or v.manifest <> excluded.manifest
returning version;

-- name: code_put_built_in_active
update registry.code_registry set active_version = 1, latest_version = 1, built_in = true where code_id = $1;

-- name: code_version_by_bytes
-- The version of any name of the kind that has these bytes.
select c.name, v.version
from registry.code_versions v join registry.code_registry c using (code_id)
where c.kind = $1 and v.sha256 = $2 and not c.built_in and c.deleted_at is null
order by v.created_at
limit 1;

-- name: code_number_by_bytes
select version from registry.code_versions where code_id = $1 and sha256 = $2;

-- name: code_versions
-- Newest first; $2: below this number, or null; $4: without the bytes of reports that lists do not need.
select v.*, v.version = c.active_version as active, c.kind, c.name,
    case when $4 then v.report - 'output' else v.report end as shown_report
from (
    select code_id, version, sha256, file_name, size_bytes, file_count, manifest, report, note, created_at, created_by, activated_at
    from registry.code_versions
) v join registry.code_registry c using (code_id)
where code_id = $1 and ($2::integer is null or version < $2)
order by version desc
limit $3;

-- name: code_version_numbers
select count(*) from registry.code_versions where code_id = $1;

-- name: code_source
select source from registry.code_versions where code_id = $1 and version = $2;

-- name: code_set_active
update registry.code_registry set active_version = $2 where code_id = $1;

-- name: code_mark_activated
update registry.code_versions set activated_at = $3 where code_id = $1 and version = $2;

-- name: code_set_preferences
update registry.code_registry
set preferences = $2, preferences_set_at = $3, preferences_set_by = $4, preferences_revision = preferences_revision + 1
where code_id = $1;

-- name: code_secrets
select version, sealed, names, updated_at from registry.code_secrets where code_id = $1;

-- name: code_secrets_of
-- For validation: the secrets of a name, and its spelling.
select c.name, s.version, s.sealed
from registry.code_secrets s join registry.code_registry c using (code_id)
where c.kind = $1 and lower(c.name) = lower($2) and c.deleted_at is null;

-- name: code_has_secrets
select exists (
    select from registry.code_secrets s join registry.code_registry c using (code_id) where c.kind = $1 and c.deleted_at is null
);

-- name: code_next_secret_version
-- Replacements are counted, so that an envelope of a former one does not open as the present one.
select coalesce((select version from registry.code_secrets where code_id = $1), 0) + 1;

-- name: code_put_secrets
insert into registry.code_secrets (code_id, version, sealed, names, updated_at, updated_by)
values ($1, $2, $3, $4, $5, $6)
on conflict (code_id) do update
set version = excluded.version, sealed = excluded.sealed, names = excluded.names, updated_at = excluded.updated_at,
    updated_by = excluded.updated_by;

-- name: code_usage
select
    (select count(*) from registry.assets where code_id = $1) as assets,
    (select count(*) from registry.asset_mapping where code_id = $1) as mappings,
    (select count(*) from registry.provider_subscription where code_id = $1) as subscriptions,
    (select count(*) from registry.indices where code_id = $1) as indices,
    coalesce((select cardinality(names) from registry.code_secrets where code_id = $1), 0) as secrets;

-- name: code_impact
select
    (select count(*) from registry.code_versions where code_id = $1) as versions,
    coalesce((select names from registry.code_secrets where code_id = $1), '{}') as secret_names,
    (select count(*) from registry.provider_subscription where code_id = $1) as subscriptions,
    (select count(*) from registry.assets where code_id = $1) as assets,
    (select count(*) from registry.asset_mapping where code_id = $1) as mappings,
    (select count(*) from registry.asset_mapping where code_id = $1 and origin = 'MANUAL') as manual_mappings;

-- name: code_orphaned_symbols
-- Common symbols that only assets of this code are mapped to.
select s.symbol
from registry.asset_mapping m join registry.common_symbols s using (common_symbol_id)
where m.code_id = $1
    and not exists (
        select from registry.asset_mapping o where o.common_symbol_id = m.common_symbol_id and o.code_id <> m.code_id
    )
order by s.symbol
limit $2;

-- name: code_indices
select name from registry.indices where code_id = $1 order by name limit $2;

-- name: code_series
select distinct symbol, interval
from registry.provider_subscription p join registry.subscription_symbols s using (subscription_id)
where p.code_id = $1
limit $2;

-- name: code_delete_subscriptions
delete from registry.provider_subscription where code_id = $1;

-- name: code_delete_mappings
-- The common symbols that nothing holds any more go with their last mapping, unless somebody made them.
with gone as (
    delete from registry.asset_mapping where code_id = $1 returning common_symbol_id
)
select array_agg(common_symbol_id) from gone;

-- name: code_delete_orphans
delete from registry.common_symbols s
where s.common_symbol_id = any($1)
    and not s.explicit
    and not exists (select from registry.asset_mapping m where m.common_symbol_id = s.common_symbol_id)
    and not exists (select from registry.index_memberships i where i.common_symbol_id = s.common_symbol_id);

-- name: code_delete_assets
-- What an index's history names stays, as vanished.
delete from registry.assets a
where a.code_id = $1 and not exists (select from registry.index_memberships i where i.asset_id = a.asset_id);

-- name: code_vanish_assets
update registry.assets set state = 'VANISHED', vanished_at = coalesce(vanished_at, $2), updated_at = $2, revision = revision + 1
where code_id = $1 and state <> 'VANISHED';

-- name: code_delete_secrets
delete from registry.code_secrets where code_id = $1;

-- name: code_delete_versions
delete from registry.code_versions where code_id = $1;

-- name: code_mark_deleted
update registry.code_registry
set active_version = null, deleted_at = $2, updated_at = $2, revision = revision + 1, preferences = '{}',
    preferences_set_at = null, preferences_set_by = null, preferences_revision = preferences_revision + 1
where code_id = $1;

-- name: registry_changed
-- Wakes whoever lives on these tables; delivered at commit.
select pg_notify('registry_changed', $1);

-- name: subscribed_intervals
-- Intervals that subscriptions of a provider use, and how many of them.
select interval, count(*) as subscriptions
from registry.provider_subscription
where code_id = $1 and interval <> '' and historical
group by interval
order by interval;
