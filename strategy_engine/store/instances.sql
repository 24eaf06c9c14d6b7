-- name: instances_of_account
select instance_id, capital, run_id from strategy.instances where account_id = $1 and deleted_at is null order by instance_id;

-- name: instances_on
-- Instances of accounts ($1) with their highest equity, that before a day ($2) began, and their open orders.
select i.instance_id, i.strategy, i.account_id, i.capital, i.run_id,
    (select count(*) from strategy.orders o where o.instance_id = i.instance_id and o.final_at is null) as open_orders,
    (select max(e.equity) from strategy.equity e
     where e.scope = 'INSTANCE' and e.scope_id = i.instance_id and e.time >= coalesce(a.reset_at, '-infinity')) as peak,
    (select e.equity from strategy.equity e
     where e.scope = 'INSTANCE' and e.scope_id = i.instance_id and e.time < $2 and e.time >= coalesce(a.reset_at, '-infinity')
     order by e.time desc limit 1) as day_start
from strategy.instances i join strategy.accounts a on a.account_id = i.account_id
where i.account_id = any($1::text[]) and i.deleted_at is null order by i.instance_id;

-- name: instance_capital
select capital, account_id from strategy.instances where instance_id = $1;

-- name: instance_insert
insert into strategy.instances (
    instance_id, display_name, description, labels, strategy, code_version, mode, parameters, universe, account_id, capital, capital_currency,
    seed, created_at, created_by, updated_at
)
values ($1, $2, $3, $4, $5, $6, 'PAPER', $7, $8, $9, $10, $11, $12, $13, $14, $13)
on conflict (instance_id) do nothing
returning instance_id;

-- name: instances
-- {filter}, {after}, {order} and {key} are written by the service.
with shown as (select * from strategy.instances where deleted_at is null)
select {key} as order_key, shown.* from shown where {filter} and {after} order by {order} limit $1;

-- name: instances_count
with shown as (select * from strategy.instances where deleted_at is null)
select count(*) from shown where {filter};

-- name: instance_update
update strategy.instances
set display_name = $2, description = $3, labels = $4, code_version = $5, parameters = $6, universe = $7, account_id = $8, capital = $9,
    capital_currency = $10, updated_at = $11, revision = revision + 1,
    restart_needed = (restart_needed or $12) and state not in ('STOPPED', 'FAILED'), seed = $14
where instance_id = $1 and revision = $13 and deleted_at is null
returning revision;

-- name: instance_runs
select count(*) from strategy.runs where instance_id = $1;

-- name: instance_delete
update strategy.instances set deleted_at = $2, enabled = false, revision = revision + 1 where instance_id = $1;

-- name: instance_state
update strategy.instances
set state = $2, state_text = $3, state_at = $4, run_id = $5, last_run_id = coalesce($5, run_id, last_run_id), enabled = $6,
    restart_needed = case when $2 = 'STARTING' then false else restart_needed end
where instance_id = $1;

-- name: instances_to_run
select * from strategy.instances where enabled and deleted_at is null order by instance_id;

-- name: run_insert
insert into strategy.runs (
    run_id, instance_id, run_number, mode, strategy, code_version, code_sha256, parameters, series, account_id, broker, capital,
    capital_currency, seed, started_by, started_at
)
select $1, $2, coalesce((select max(run_number) from strategy.runs where instance_id = $2), 0) + 1, 'PAPER', $3, $4, $5, $6, $7, $8,
    'Paper', $9, $10, $11, $12, $13;

-- name: run_open
select * from strategy.runs where instance_id = $1 and finished_at is null order by run_number desc limit 1;

-- name: run_state
update strategy.runs
set state = $2, state_text = $3, ready_at = coalesce(ready_at, case when $2 = 'RUNNING' then $4::timestamptz end),
    finished_at = case when $2 in ('COMPLETED', 'STOPPED', 'FAILED') then $4::timestamptz end,
    restarts = restarts + case when $2 = 'RECOVERING' then 1 else 0 end
where run_id = $1;

-- name: run_progress
update strategy.runs
set last_intent = greatest(last_intent, $2), metrics = metrics || $3, series = case when $4::jsonb is null then series else $4::jsonb end
where run_id = $1;

-- name: runs
-- {filter}, {after}, {order} and {key} are written by the service.
select {key} as order_key, r.*,
    (select coalesce(max(e.run_sequence), 0) from ops.events e where e.run_id = r.run_id::text) as event_sequence,
    (select count(*) from strategy.orders o where o.run_id = r.run_id and o.status <> 'DENIED') as orders,
    (select count(*) from strategy.orders o where o.run_id = r.run_id and o.final_at is null) as open_orders,
    (select count(*) from strategy.orders o where o.run_id = r.run_id and o.status = 'DENIED') as denied_orders,
    (select count(*) from strategy.orders o where o.run_id = r.run_id and o.status = 'REJECTED') as rejected_orders,
    (select count(*) from strategy.fills f where f.run_id = r.run_id) as fills,
    (select coalesce(sum(f.commission), 0) from strategy.fills f where f.run_id = r.run_id) as commission,
    (select coalesce(min(e.run_sequence), 0) from ops.events e where e.run_id = r.run_id::text) as first_sequence
from strategy.runs r where {filter} and {after} order by {order} limit $1;

-- name: run_there
select 1 from strategy.runs where run_id = $1;

-- name: run_events
select run_sequence, time, severity, kind, message, data from ops.events
where run_id = $2 and run_sequence > $3 order by run_sequence limit $1;

-- name: run_event_page
-- {filter}, {after}, {order} and {key} are written by the service.
select {key} as order_key, run_sequence, time, severity, kind, message, data from ops.events
where run_id = $2 and {filter} and {after} order by {order} limit $1;

-- name: run_log_page
-- Lines are counted among themselves. {filter}, {after}, {order} and {key} are written by the service.
with shown as (
    select row_number() over (order by run_sequence) as line, time, data, data -> 'payload' ->> 'message' as message,
        coalesce(data -> 'payload' ->> 'level', 'info') as level, (data ->> 'event_time')::timestamptz as event_time
    from ops.events where run_id = $2 and data ->> 'telemetry' = 'LOG'
)
select {key} as order_key, shown.* from shown where {filter} and {after} order by {order} limit $1;

-- name: run_marks
-- The newest mark of a run with its peak and deepest fall, the equity with which it began, and that at the begin of the day ($3).
with own as (
    select *, max(equity) over (order by time) as peak from strategy.equity where run_id = $1 and scope = 'INSTANCE'
)
select o.*, (select min(m.equity / nullif(m.peak, 0) - 1) from own m) as max_drawdown,
    coalesce(
        (select e.equity from strategy.equity e
         where e.scope = 'INSTANCE' and e.scope_id = $2 and e.time < (select min(time) from own) order by e.time desc limit 1),
        (select r.capital from strategy.runs r where r.run_id = $1),
        (select (a.settings ->> 'initial_cash')::numeric from strategy.runs r join strategy.accounts a using (account_id) where r.run_id = $1)
    ) as initial,
    (select e.equity from strategy.equity e where e.scope = 'INSTANCE' and e.scope_id = $2 and e.time < $3 order by e.time desc limit 1) as day_start
from own o order by o.time desc limit 1;

-- name: run_curve
select time, equity, net_exposure, gross_exposure from strategy.equity where run_id = $1 and scope = 'INSTANCE' order by time;

-- name: runs_concerned
-- Runs that have not ended, of the instances that a scope ($1: its kind, $2: its id) means.
select r.run_id, r.instance_id from strategy.runs r
where r.finished_at is null and case $1::text
    when 'PLATFORM' then true when 'ACCOUNT' then r.account_id = $2 when 'STRATEGY' then r.instance_id = $2
    else exists (select from jsonb_array_elements(r.series) e where e ->> 'symbol' = $2) end
order by r.run_id;

-- name: instance_glances
-- What happened to instances since a time ($2), the marks of their equity, and the version of their code: of the run that goes on, else the active one.
select i.instance_id,
    (select count(*) from strategy.orders o where o.instance_id = i.instance_id and o.final_at is null) as open_orders,
    (select count(*) from strategy.fills f where f.instance_id = i.instance_id and f.received_at >= $2) as fills_today,
    (select count(distinct d.client_order_id) from strategy.denials d where d.instance_id = i.instance_id and d.time >= $2) as denials_today,
    (select max(e.equity) from strategy.equity e
     where e.scope = 'INSTANCE' and e.scope_id = i.instance_id and e.time >= coalesce(a.reset_at, '-infinity')) as peak,
    (select e.equity from strategy.equity e
     where e.scope = 'INSTANCE' and e.scope_id = i.instance_id and e.time < $2 and e.time >= coalesce(a.reset_at, '-infinity')
     order by e.time desc limit 1) as day_start,
    (r.metrics ->> 'last_data_ns')::bigint as last_data_ns,
    r.metrics -> 'last_signal' as last_signal, (r.metrics ->> 'last_signal_ns')::bigint as last_signal_ns,
    case when i.run_id is not null then r.code_version else c.active_version end as code_version
from strategy.instances i
left join strategy.accounts a on a.account_id = i.account_id
left join lateral (
    select n.metrics, n.code_version from strategy.runs n where n.instance_id = i.instance_id order by n.run_number desc limit 1
) r on true
left join registry.code_registry c on c.kind = 'strategy' and lower(c.name) = lower(i.strategy) and c.deleted_at is null
where i.instance_id = any($1::text[]);

-- name: instance_sparklines
-- The last equity of each of at most 60 parts of the points since a time.
with parts as (
    select scope_id, time, equity, ntile(60) over (partition by scope_id order by time) as part
    from strategy.equity where scope = 'INSTANCE' and scope_id = any($1::text[]) and time >= $2
), last as (
    select distinct on (scope_id, part) scope_id, time, equity from parts order by scope_id, part, time desc
)
select scope_id, array_agg(equity::float8 order by time) as points from last group by scope_id;
