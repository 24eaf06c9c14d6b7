-- name: code_version
-- One version of a strategy as the registry holds it; version 0: the one that is active.
select c.name, c.built_in, c.active_version, c.preferences, v.version, encode(v.sha256, 'hex') as sha256, v.file_name, v.source, v.manifest
from registry.code_registry c
join registry.code_versions v on v.code_id = c.code_id
    and v.version = case when $3::integer = 0 then c.active_version else $3::integer end
where c.kind = $1 and lower(c.name) = lower($2) and c.deleted_at is null;

-- name: code_names
select name from registry.code_registry where kind = $1 and deleted_at is null order by name limit 50;

-- name: code_secrets
select kind, name, version, sealed from registry.trading_secrets where kind = $1 and lower(name) = lower($2);

-- name: code_notify
select pg_notify('registry_changed', $1);
