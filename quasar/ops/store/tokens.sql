-- name: insert_token
insert into ops.tokens (id, name, hash, role, created_by, expires_at)
values ($1, $2, $3, $4, $5, $6)
returning *;

-- name: end_expired_namesake
-- A token that has expired is no longer in force, so its name is free again.
update ops.tokens set revoked_at = expires_at, revoked_by = 'expiry'
where name = $1 and revoked_at is null and expires_at <= now();

-- name: token_by_id
select * from ops.tokens where id = $1;

-- name: touch_token
-- Noted to the minute, so that a busy token costs one write a minute.
update ops.tokens set last_used_at = date_trunc('minute', now())
where id = $1 and (last_used_at is null or last_used_at < date_trunc('minute', now()));

-- name: tokens_newest_first
-- $1: also those that are out of force. $2, $3: creation time and id of the last token of the page before, or null.
select * from ops.tokens
where ($1 or (revoked_at is null and (expires_at is null or expires_at > now())))
    and (created_at, id) < (coalesce($2::timestamptz, 'infinity'), coalesce($3::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
order by created_at desc, id desc
limit $4;

-- name: revoke_token
-- By id or by the name of the token in force.
update ops.tokens set revoked_at = now(), revoked_by = $2
where revoked_at is null and (id::text = $1 or replace(id::text, '-', '') = $1 or name = $1)
returning *;

-- name: revoked_token
select * from ops.tokens
where revoked_at is not null and (id::text = $1 or replace(id::text, '-', '') = $1)
order by revoked_at desc limit 1;

-- name: notify_tokens
select pg_notify('quasar_tokens', $1);
