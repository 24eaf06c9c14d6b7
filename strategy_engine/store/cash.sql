-- name: movement_insert
insert into strategy.cash_movements (
    account_id, instance_id, kind, currency, amount, time, detail, reference, balance_after, fill_id, symbol, actor
)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);

-- name: movement_of_reference
select amount, detail from strategy.cash_movements where reference = $1;

-- name: movements
-- {filter}, {after}, {order} and {key} are written by the service.
select {key} as order_key, m.* from strategy.cash_movements m where {filter} and {after} order by {order} limit $1;

-- name: balance_lock
select total from strategy.account_balances where account_id = $1 and currency = $2 for update;

-- name: balance_pay
update strategy.account_balances set total = total + $3, paid_in = paid_in + $3, updated_at = $4
where account_id = $1 and currency = $2 returning total;

-- name: balance_reset
update strategy.account_balances set total = $3, paid_in = 0, updated_at = $4 where account_id = $1 and currency = $2;

-- name: positions_forget
delete from strategy.positions where account_id = $1;

-- name: account_reset
update strategy.accounts set settings = $2, reset_at = $3, updated_at = $3, revision = revision + 1
where account_id = $1 and deleted_at is null;

-- name: instances_running
select instance_id from strategy.instances where account_id = $1 and run_id is not null and deleted_at is null order by instance_id;
