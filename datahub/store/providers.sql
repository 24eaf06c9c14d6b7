-- name: active_providers
-- Providers that are to run, without their source.
select c.name, c.built_in, v.version, encode(v.sha256, 'hex') as sha256, v.file_name, v.manifest, c.preferences, c.revision,
       c.preferences_revision, coalesce(s.version, 0) as secrets_version
from registry.code_registry c
join registry.code_versions v on v.code_id = c.code_id and v.version = c.active_version
left join registry.provider_secrets s on s.code_id = c.code_id
where c.kind = 'provider' and c.deleted_at is null
order by c.name;

-- name: provider_source
select v.source from registry.code_registry c join registry.code_versions v on v.code_id = c.code_id
where c.kind = 'provider' and c.name = $1 and v.version = $2;

-- name: provider_secrets
select name, version, sealed, names from registry.provider_secrets where name = $1;

-- name: pauses
select provider, reason, paused_at, paused_by, resume_at from provider_pauses where $1 = '' or lower(provider) = lower($1) order by provider;

-- name: pause_put
insert into provider_pauses (provider, reason, paused_at, paused_by, resume_at) values ($1, $2, $3, $4, $5)
on conflict (provider) do update set reason = excluded.reason, resume_at = excluded.resume_at, paused_by = excluded.paused_by
returning *;

-- name: pause_end
delete from provider_pauses where lower(provider) = lower($1) returning *;

-- name: pauses_over
delete from provider_pauses where resume_at <= $1 returning provider;

-- name: waiting_runs
select count(*) from collection_runs where lower(provider) = lower($1) and state in ('PENDING', 'BACKING_OFF');

-- name: provider_figures
-- What of each provider is subscribed, known and being worked on.
select n.name,
       (select count(*) from subscribed_series s join series x on x.series_id = s.series_id where x.provider = n.name) as series,
       (select count(*) from registry.assets a join registry.code_registry c on c.code_id = a.code_id
        where c.kind = 'provider' and c.name = n.name and a.state = 'LISTED') as symbols,
       (select count(*) from collection_runs r where r.provider = n.name and r.state in ('RUNNING', 'THROTTLED', 'BACKING_OFF')) as runs,
       (select count(*) from collection_runs r where r.provider = n.name and r.state in ('PENDING', 'BACKING_OFF')) as waiting,
       (select max(p.updated_at) from series_progress p join series x on x.series_id = p.series_id where x.provider = n.name) as last_row
from unnest($1::text[]) n(name);

-- name: a_subscribed_symbol
select x.symbol from subscribed_series s join series x on x.series_id = s.series_id where x.provider = $1 order by x.symbol limit 1;
