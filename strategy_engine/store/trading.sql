-- name: account_insert
insert into strategy.accounts (account_id, display_name, broker, mode, currency, settings, created_at, created_by, updated_at)
values ($1, $2, 'Paper', 'PAPER', $3, $4, $5, $6, $5)
on conflict (account_id) do nothing
returning account_id;

-- name: account_balance_put
insert into strategy.account_balances (account_id, currency, total, updated_at) values ($1, $2, $3, $4)
on conflict (account_id, currency) do update set total = excluded.total, updated_at = excluded.updated_at;

-- name: accounts
-- {filter}, {after}, {order} and {key} are written by the service.
with shown as (
    select a.*, coalesce(b.total, 0) as cash, coalesce(b.paid_in, 0) as paid_in,
        (select count(*) from strategy.orders o where o.account_id = a.account_id and o.final_at is null) as open_orders,
        (select coalesce(array_agg(i.instance_id order by i.instance_id), '{{}}') from strategy.instances i
         where i.account_id = a.account_id and i.deleted_at is null) as instance_ids
    from strategy.accounts a
    left join strategy.account_balances b on b.account_id = a.account_id and b.currency = a.currency
    where a.deleted_at is null
)
select {key} as order_key, shown.* from shown where {filter} and {after} order by {order} limit $1;

-- name: account_delete
update strategy.accounts set deleted_at = $2, revision = revision + 1 where account_id = $1 and deleted_at is null returning account_id;

-- name: order_insert
insert into strategy.orders (
    client_order_id, account_id, broker, instance_id, run_id, intent_number, leg, origin, symbol, currency, side, type, quantity, notional,
    limit_price, trigger_price, time_in_force, expires_at, reduce_only, spec, status, status_text, denials, parent_client_order_id, group_id,
    contingency, reference_price, tag, decided_at, created_at, updated_at, final_at, actor
)
values (
    $1, $2, 'Paper', $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28,
    $29, $29, $30, $31
)
on conflict (client_order_id) do nothing
returning client_order_id;

-- name: orders
-- {filter}, {after}, {order} and {key} are written by the service.
select {key} as order_key, o.* from strategy.orders o where {filter} and {after} order by {order} limit $1;

-- name: orders_by_id
select * from strategy.orders where client_order_id = any($1::text[]) order by created_at, client_order_id;

-- name: order_lock
select * from strategy.orders where client_order_id = $1 for update;

-- name: orders_open
select * from strategy.orders where final_at is null and ($1 = '' or account_id = $1) order by created_at, leg, client_order_id;

-- name: order_change
update strategy.orders
set status = $2, status_text = $3, quantity = coalesce($4, quantity), limit_price = coalesce($5, limit_price),
    trigger_price = coalesce($6, trigger_price), expires_at = coalesce($11::timestamptz, expires_at), filled_quantity = $7, average_fill_price = $8, updated_at = $9,
    final_at = case when $10 then $9::timestamptz end,
    submitted_at = coalesce(submitted_at, case when $2 not in ('PENDING_NEW', 'HELD', 'DENIED') then $9::timestamptz end),
    accepted_at = coalesce(accepted_at, case when $2 in ('ACCEPTED', 'PARTIALLY_FILLED', 'FILLED') then $9::timestamptz end),
    broker_order_id = coalesce(broker_order_id, case when $2 not in ('PENDING_NEW', 'HELD', 'DENIED') then client_order_id end),
    revision = revision + 1
where client_order_id = $1
returning *;

-- name: order_trail
update strategy.orders set trigger_price = $2 where client_order_id = $1 and final_at is null;

-- name: orders_recent
-- Orders and changes of orders of late ($2) with their age in seconds.
select account_id, coalesce(instance_id, '') as instance_id, symbol, extract(epoch from $1::timestamptz - created_at)::float8 as age
from strategy.orders where created_at > $1::timestamptz - $2::interval and status <> 'DENIED'
union all
select data ->> 'account_id', coalesce(data ->> 'instance_id', ''), data ->> 'symbol', extract(epoch from $1::timestamptz - time)::float8
from ops.events where time > $1::timestamptz - $2::interval and kind = 'OrderReplaceRequested';

-- name: fill_insert
insert into strategy.fills (
    broker_fill_id, client_order_id, account_id, instance_id, run_id, symbol, side, quantity, price, currency, commission,
    commission_currency, liquidity_side, filled_at, received_at, position_after, realised_pnl, tag
)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $10, $12, $13, $14, $15, $16, $17)
on conflict (account_id, broker_fill_id) do nothing
returning *;

-- name: fills
-- {filter}, {after}, {order} and {key} are written by the service.
select {key} as order_key, f.* from strategy.fills f where {filter} and {after} order by {order} limit $1;

-- name: fills_of_order
select * from strategy.fills where client_order_id = $1 order by filled_at, received_at;

-- name: position_lock
select * from strategy.positions where account_id = $1 and instance_id = $2 and symbol = $3 for update;

-- name: position_put
insert into strategy.positions (
    account_id, instance_id, symbol, broker_symbol, currency, quantity, average_price, multiplier, mark_price, marked_at, realised_pnl,
    commission, opened_at, updated_at
)
values ($1, $2, $3, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $9)
on conflict (account_id, instance_id, symbol) do update
set quantity = excluded.quantity, average_price = excluded.average_price, multiplier = excluded.multiplier, mark_price = excluded.mark_price, marked_at = excluded.marked_at,
    realised_pnl = excluded.realised_pnl, commission = excluded.commission, opened_at = excluded.opened_at,
    updated_at = excluded.updated_at, revision = strategy.positions.revision + 1;

-- name: positions_mark
update strategy.positions set mark_price = $2, marked_at = $3 where symbol = $1 and quantity <> 0;

-- name: positions
select * from strategy.positions
where ($1 = '' or account_id = $1) and ($2::text is null or instance_id = $2) and ($3 or quantity <> 0)
order by account_id, instance_id, symbol;

-- name: balance_add
update strategy.account_balances set total = total + $3, updated_at = $4 where account_id = $1 and currency = $2 returning total;

-- name: balances
select * from strategy.account_balances where account_id = $1 order by currency;

-- name: equity_put
insert into strategy.equity (
    scope, scope_id, time, run_id, currency, equity, cash, gross_exposure, net_exposure, realised_pnl, unrealised_pnl, paid_in
)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
on conflict (scope, scope_id, time) do update
set equity = excluded.equity, cash = excluded.cash, gross_exposure = excluded.gross_exposure, net_exposure = excluded.net_exposure,
    realised_pnl = excluded.realised_pnl, unrealised_pnl = excluded.unrealised_pnl, paid_in = excluded.paid_in;

-- name: equity_marks
-- Highest equity since the start or the last reset, and the last one before the day began; both without what was paid in.
with own as (
    select e.time, e.equity - e.paid_in as earned
    from strategy.equity e
    where e.scope = $1 and e.scope_id = $2 and e.time >= coalesce(
        (select a.reset_at from strategy.accounts a
         where a.account_id = case when $1 = 'ACCOUNT' then $2
             else (select i.account_id from strategy.instances i where i.instance_id = $2) end),
        '-infinity'
    )
)
select max(earned) as peak, (select earned from own where time < $3 order by time desc limit 1) as day_start from own;

-- name: equity_curve
select * from strategy.equity
where scope = $1 and scope_id = $2 and ($3::timestamptz is null or time >= $3) and ($4::timestamptz is null or time < $4)
order by time;

-- name: instrument
-- The series with the shortest bars of a common symbol, or of a provider's symbol.
select s.provider, s.symbol, s.interval from datahub.series s
where s.interval <> '' and (
    s.symbol = $1
    or exists (
        select 1
        from registry.asset_mapping m
        join registry.common_symbols y on y.common_symbol_id = m.common_symbol_id
        join registry.assets a on a.asset_id = m.asset_id
        join registry.code_registry c on c.code_id = a.code_id
        where m.active and y.symbol = $1 and c.name = s.provider and a.symbol = s.symbol
    )
)
order by
    case substring(s.interval from '[A-Za-z]+$') when 's' then 0 when 'min' then 1 when 'h' then 2 when 'd' then 3 when 'w' then 4 when 'M' then 5
        else 6 end,
    substring(s.interval from '^[0-9.]+')::numeric, s.interval, s.provider
limit 1;

-- name: instrument_rules
-- What providers say of instruments; 0 stands for nothing said.
select c.name as provider, a.symbol, nullif(a.price_increment, 0) as price_tick, nullif(a.size_increment, 0) as quantity_step,
    nullif(a.minimum_size, 0) as min_quantity, nullif(a.minimum_notional, 0) as min_notional, nullif(a.multiplier, 0) as multiplier
from unnest($1::text[], $2::text[]) as asked (provider, symbol)
join registry.code_registry c on c.kind = 'provider' and c.name = asked.provider
join registry.assets a on a.code_id = c.code_id and a.symbol = asked.symbol;

-- name: trading_notify
select pg_notify('strategy_changed', $1);

-- name: order_events
select id, time, kind, message, data, actor, role from ops.events
where subject_type = 'order' and subject_name = $2 and id > $3 order by id limit $1;

-- name: change_of_request
select data -> 'change' from ops.events
where subject_type = 'order' and subject_name = $1 and kind = 'OrderReplaceRequested' and data ->> 'request_id' = $2 limit 1;

-- name: fills_of_run
select * from strategy.fills where run_id = $1 order by filled_at, received_at, fill_id;

-- name: fills_of_accounts
-- Executions of accounts since their start or last reset, of one instance or of all, oldest first, with the value of one unit per point of price.
select f.*, coalesce(p.multiplier, 1) as multiplier
from strategy.fills f
join strategy.accounts a on a.account_id = f.account_id
left join strategy.positions p
    on p.account_id = f.account_id and p.instance_id = coalesce(f.instance_id, '') and p.symbol = f.symbol
where f.account_id = any($1::text[]) and ($2::text is null or f.instance_id = $2) and f.received_at >= coalesce(a.reset_at, '-infinity')
order by f.filled_at, f.received_at, f.fill_id;

-- name: fills_since
-- What was traded since a time, by owner.
select f.account_id, coalesce(f.instance_id, '') as instance_id, count(*) as fills, sum(f.quantity * f.price * coalesce(p.multiplier, 1)) as traded
from strategy.fills f
left join strategy.positions p
    on p.account_id = f.account_id and p.instance_id = coalesce(f.instance_id, '') and p.symbol = f.symbol
where f.received_at >= $1
group by 1, 2;

-- name: equity_days
-- The last mark of each owner and day of a time zone ($3), since the start or the last reset of its account.
select distinct on (e.scope_id, (e.time at time zone $3)::date)
    e.scope_id, to_char((e.time at time zone $3)::date, 'YYYY-MM-DD') as day, e.equity, e.unrealised_pnl
from strategy.equity e
left join strategy.instances i on e.scope = 'INSTANCE' and i.instance_id = e.scope_id
join strategy.accounts a on a.account_id = case when e.scope = 'ACCOUNT' then e.scope_id else i.account_id end
where e.scope = $1 and e.scope_id = any($2::text[]) and e.time >= coalesce(a.reset_at, '-infinity')
order by e.scope_id, (e.time at time zone $3)::date, e.time desc;

-- name: account_update
update strategy.accounts
set display_name = coalesce($3::text, display_name),
    settings = case when $4::jsonb is null then settings else jsonb_set(settings, '{labels}', $4::jsonb) end,
    updated_at = $5, revision = revision + 1
where account_id = $1 and revision = $2 and deleted_at is null
returning revision;
