-- name: request_lock
-- Two requests with one id take turns.
select pg_advisory_xact_lock(hashtextextended('registry request ' || $1 || ' ' || $2, 0));

-- name: request_find
select fingerprint, answer from registry.requests where method = $1 and request_id = $2;

-- name: request_insert
insert into registry.requests (method, request_id, fingerprint, answer, created_at) values ($1, $2, $3, $4, $5);

-- name: request_prune
delete from registry.requests where created_at < $1;
