-- name: migrations_recorded
-- What was applied, or waits for a capability of the server.
select version, name, state from ops.schema_migrations order by version;

-- name: schema_exists
select to_regclass('ops.schema_migrations') is not null;
