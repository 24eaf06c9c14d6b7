-- name: backtest_insert
-- A repeated request finds its row and changes nothing.
insert into strategy.backtests (
    backtest_id, display_name, labels, strategy, code_version, code_sha256, source, parameters, universe, terms, operation_id, created_by,
    created_at
)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
on conflict (backtest_id) do nothing
returning backtest_id;

-- name: backtests
-- {filter}, {after} and {order} are written by the service. A cancelled operation has cancelled its back-test.
with shown as (
    select b.backtest_id, b.display_name, b.labels, b.strategy, b.code_version, b.code_sha256, b.parameters, b.universe, b.series, b.terms,
           case when b.finished_at is null and o.state = 'CANCELLED' then 'CANCELLED'
                when b.finished_at is null and o.state = 'FAILED' then 'FAILED' else b.state end as state,
           case when b.error = '' and o.state = 'FAILED' then coalesce(o.error ->> 'message', '') else b.error end as error,
           b.operation_id, b.sweep_id, b.trial_number, b.instance_id, b.run_id, b.statistics, b.findings, b.data_sha256, b.engine_version,
           b.timing, b.created_at, b.created_by, b.started_at, coalesce(b.finished_at, o.finished_at) as finished_at
    from strategy.backtests b left join ops.operations o on o.id = b.operation_id
)
select {key} as order_key, shown.* from shown
where {filter} and {after}
order by {order}
limit $1;

-- name: backtest_source
select source from strategy.backtests where backtest_id = $1;

-- name: backtest_move
update strategy.backtests
set state = $2, started_at = coalesce(started_at, case when $2 = 'LOADING' then $3::timestamptz end)
where backtest_id = $1 and finished_at is null;

-- name: backtest_loaded
update strategy.backtests set state = 'RUNNING', series = $2, data_sha256 = $3 where backtest_id = $1 and finished_at is null;

-- name: backtest_finish
update strategy.backtests
set state = $2, error = $3, statistics = $4, findings = $5, engine_version = $6, timing = $7, finished_at = $8
where backtest_id = $1 and finished_at is null
returning backtest_id;

-- name: backtest_delete
delete from strategy.backtests where backtest_id = $1 and (finished_at is not null or $2) returning backtest_id;

-- name: backtest_clear
-- An attempt before this one may have left records.
with o as (delete from strategy.backtest_orders where backtest_id = $1),
     f as (delete from strategy.backtest_fills where backtest_id = $1),
     t as (delete from strategy.backtest_trades where backtest_id = $1),
     c as (delete from strategy.backtest_curves where backtest_id = $1)
delete from strategy.backtest_logs where backtest_id = $1;

-- name: backtest_orders_insert
insert into strategy.backtest_orders (backtest_id, position, client_order_id, symbol, status, created_at, data)
select $1, * from unnest($2::integer[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::jsonb[]);

-- name: backtest_fills_insert
insert into strategy.backtest_fills (
    backtest_id, position, client_order_id, symbol, side, quantity, price, commission, filled_at, data
)
select $1, * from unnest(
    $2::integer[], $3::text[], $4::text[], $5::text[], $6::numeric[], $7::numeric[], $8::numeric[], $9::timestamptz[], $10::jsonb[]
);

-- name: backtest_trades_insert
insert into strategy.backtest_trades (
    backtest_id, position, symbol, side, quantity, entry_time, exit_time, entry_price, exit_price, pnl, return_ratio, commission, bars, tag, data
)
select $1, * from unnest(
    $2::integer[], $3::text[], $4::text[], $5::numeric[], $6::timestamptz[], $7::timestamptz[], $8::numeric[], $9::numeric[],
    $10::numeric[], $11::float8[], $12::numeric[], $13::integer[], $14::text[], $15::jsonb[]
);

-- name: backtest_logs_insert
insert into strategy.backtest_logs (backtest_id, sequence, event_time, recorded_at, level, message, place)
select $1, * from unnest($2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::text[], $7::text[]);

-- name: backtest_curve_insert
insert into strategy.backtest_curves (backtest_id, name, symbol, part, points, start_time, end_time, times, "values")
values ($1, $2, '', $3, $4, $5, $6, $7, $8);

-- name: backtest_curves
select name, part, points, times, "values" from strategy.backtest_curves
where backtest_id = $1 and symbol = '' and name = any($2::text[])
order by part, name;

-- name: backtest_records
-- A page of one of the tables of records; {table}, {key}, {filter}, {after} and {order} are the service's words.
select {key} as order_key, data from strategy.{table} where backtest_id = $2 and {filter} and {after} order by {order} limit $1;

-- name: backtest_records_count
select count(*) from strategy.{table} where backtest_id = $1 and {filter};

-- name: backtest_logs
select {key} as order_key, sequence, event_time, recorded_at, level, message, place from strategy.backtest_logs
where backtest_id = $2 and {filter} and {after} order by {order} limit $1;

-- name: backtest_update
update strategy.backtests set display_name = coalesce($2::text, display_name), labels = coalesce($3::jsonb, labels) where backtest_id = $1;
