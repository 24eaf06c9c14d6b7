-- name: policy_insert
insert into strategy.policies (policy_id, scope, scope_id, description, rules, enabled, created_at, created_by, updated_at, updated_by)
values ($1, $2, $3, $4, $5, $6, $7, $8, $7, $8)
on conflict (policy_id) do nothing
returning *;

-- name: policy_lock
select * from strategy.policies where policy_id = $1 for update;

-- name: policy_get
select * from strategy.policies where policy_id = $1;

-- name: policy_update
update strategy.policies
set scope = $2, scope_id = $3, description = $4, rules = $5, enabled = $6, updated_at = $7, updated_by = $8, revision = revision + 1
where policy_id = $1
returning *;

-- name: policy_delete
delete from strategy.policies where policy_id = $1 returning policy_id;

-- name: policies
select {key} as order_key, p.* from strategy.policies p where {filter} and {after} order by {order} limit $1;

-- name: policies_enabled
select * from strategy.policies where enabled order by policy_id;

-- name: trading_state_put
insert into strategy.trading_states (scope, scope_id, state, reason, set_at, set_by, cause, trigger, expires_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
on conflict (scope, scope_id) do update
set state = excluded.state, reason = excluded.reason, set_at = excluded.set_at, set_by = excluded.set_by, cause = excluded.cause,
    trigger = excluded.trigger, expires_at = excluded.expires_at, revision = strategy.trading_states.revision + 1
returning *;

-- name: trading_state_lock
select * from strategy.trading_states where scope = $1 and scope_id = $2 for update;

-- name: trading_states
-- The strictest first; a state whose time is over ($1) counts as ACTIVE, whether or not that was written yet.
select * from strategy.trading_states
order by case when expires_at <= $1 then 2 when state = 'HALTED' then 0 when state = 'REDUCE_ONLY' then 1 else 2 end, scope, scope_id;

-- name: trading_states_page
-- {filter}, {after}, {order} and {key} are written by the service; a state whose time is over counts as ACTIVE.
with shown as (
    select *, case when expires_at <= now() then 'ACTIVE' else state end as holds from strategy.trading_states
)
select {key} as order_key, shown.* from shown where {filter} and {after} order by {order} limit $1;

-- name: trading_states_over
select * from strategy.trading_states where expires_at <= $1 order by expires_at, scope, scope_id;

-- name: loss_breaches
select * from strategy.loss_breaches order by policy_id, account_id, instance_id, reason;

-- name: loss_breach_insert
insert into strategy.loss_breaches (policy_id, account_id, instance_id, reason, breach_id, reached_at) values ($1, $2, $3, $4, $5, $6)
on conflict do nothing;

-- name: loss_breach_acted
update strategy.loss_breaches set acted_at = $2 where breach_id = $1;

-- name: loss_breach_delete
delete from strategy.loss_breaches where breach_id = $1;

-- name: denial_insert
insert into strategy.denials (
    time, client_order_id, account_id, instance_id, run_id, symbol, reason, scope, scope_id, policy_id, bound, value, unit, detail,
    change
)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15);

-- name: denials
-- One row a denied order or change of an order, with all its reasons. {filter}, {compare} and {order} are written by the service.
with grouped as (
    select min(d.denial_id) as denial_id, min(d.time) as time, d.client_order_id, min(d.account_id) as account_id,
        coalesce(min(d.instance_id), '') as instance_id, min(d.run_id::text) as run_id, min(d.symbol) as symbol,
        array_agg(d.reason order by d.denial_id) as reasons, array_agg(d.scope) as scopes, array_agg(d.scope_id) as scope_ids,
        array_agg(coalesce(d.policy_id, '')) as policy_ids,
        jsonb_agg(to_jsonb(d) order by d.denial_id) as parts, (jsonb_agg(d.change)) -> 0 as change
    from strategy.denials d group by d.client_order_id, d.time
)
select g.*, o.spec, o.origin, o.actor from grouped g left join strategy.orders o using (client_order_id)
where ($2::bigint is null or g.denial_id {compare} $2) and {filter}
order by g.denial_id {order} limit $1;
