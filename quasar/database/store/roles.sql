-- name: may_create_roles
-- Whether the present role can make the services' roles.
select rolsuper or rolcreaterole from pg_roles where rolname = current_user;

-- name: role_exists
select exists (select from pg_roles where rolname = $1);

-- name: create_role_text
-- DDL takes no parameters; the server quotes them. The second one is a SCRAM verifier, never a password.
select format('create role %I login password %L', $1::text, $2::text);

-- name: alter_role_text
select format('alter role %I login password %L', $1::text, $2::text);

-- name: role_setting_text
select format('alter role %I set search_path = %s', $1::text, $2::text);

-- name: grant_connect
-- Everybody may connect unless somebody has taken that back; only the owner of the database can give it.
select format('grant connect, temporary on database %I to %I', d.datname, $1::text)
from pg_database d
where d.datname = current_database() and pg_has_role(d.datdba, 'usage');

-- name: grants
-- What each service may do. Run after every migration; the default privileges cover what later migrations and the storage functions create.
grant usage on schema ops to {registry}, {datahub}, {strategy};
grant select on ops.schema_migrations, ops.tokens, ops.storage_tables to {registry}, {datahub}, {strategy};
grant update (last_used_at) on ops.tokens to {registry}, {datahub}, {strategy};
grant select, insert on ops.events to {registry}, {datahub}, {strategy};
grant select, insert, update on ops.operations to {registry}, {datahub}, {strategy};
grant insert, update on ops.tokens to {registry};
grant usage on all sequences in schema ops to {registry}, {datahub}, {strategy};
grant execute on function ops.storage_table(text), ops.storage_slices(text), ops.slice_step(ops.storage_tables, timestamptz),
    ops.slice_start(ops.storage_tables, timestamptz), ops.slice_end(ops.storage_tables, timestamptz),
    ops.slice_name(ops.storage_tables, timestamptz), ops.slice_count(ops.storage_tables, timestamptz, timestamptz) to {registry}, {datahub}, {strategy};
grant execute on function ops.ensure_partitions(text, timestamptz, timestamptz), ops.drop_older_than(text, timestamptz),
    ops.set_retention(text, interval), ops.apply_retention(text, timestamptz), ops.set_compression(text, interval) to {datahub};
grant execute on function ops.prune_events(timestamptz) to {registry};
grant execute on function datahub.hourly_bars_stale() to {datahub};

grant usage on schema registry to {registry}, {datahub}, {strategy};
grant select, insert, update, delete on all tables in schema registry to {registry};
grant usage on all sequences in schema registry to {registry};
grant select on all tables in schema registry to {datahub}, {strategy};
revoke select on registry.code_secrets, registry.trading_secrets from {datahub};
revoke select on registry.code_secrets, registry.provider_secrets from {strategy};
alter default privileges in schema registry grant select, insert, update, delete on tables to {registry};
alter default privileges in schema registry grant usage on sequences to {registry};
alter default privileges in schema registry grant select on tables to {datahub}, {strategy};

grant usage on schema datahub to {datahub}, {strategy};
grant select, insert, update, delete on all tables in schema datahub to {datahub};
grant usage on all sequences in schema datahub to {datahub};
grant select on all tables in schema datahub to {strategy};
alter default privileges in schema datahub grant select, insert, update, delete on tables to {datahub};
alter default privileges in schema datahub grant usage on sequences to {datahub};
alter default privileges in schema datahub grant select on tables to {strategy};

grant usage on schema strategy to {strategy};
grant select, insert, update, delete on all tables in schema strategy to {strategy};
grant usage on all sequences in schema strategy to {strategy};
alter default privileges in schema strategy grant select, insert, update, delete on tables to {strategy};
alter default privileges in schema strategy grant usage on sequences to {strategy};
