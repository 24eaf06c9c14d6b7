-- Cash that comes and goes, each with the balance after it, and kept out of profit. Changes of orders that policy denied.

alter table strategy.accounts add column reset_at timestamptz;
comment on column strategy.accounts.reset_at is 'When the paper account was put back to its start last; its figures count from there';

alter table strategy.account_balances add column paid_in numeric not null default 0;
comment on column strategy.account_balances.paid_in is 'Cash paid in since the start or the last reset, less paid out; what it began with is not in it';

alter table strategy.equity add column paid_in numeric not null default 0;
comment on column strategy.equity.paid_in is 'Cash paid in until then, less paid out: profit and drawdown are measured without it';

alter table strategy.cash_movements
    add column balance_after numeric,
    add column fill_id       uuid,
    add column symbol        text  not null default '',
    add column actor         jsonb;
create index cash_movements_fill on strategy.cash_movements (fill_id) where fill_id is not null;

alter table strategy.denials add column change jsonb;
comment on column strategy.denials.change is 'The change that was denied, of an order that stays as it was; null: the order itself was denied';

-- The movements of accounts that are there already: what they began with, and what their fills cost and brought.
with told as (
    select account_id, null::text as instance_id, 'DEPOSIT' as kind, currency, (settings ->> 'initial_cash')::numeric as amount, created_at as time,
        'What the account began with' as detail, null::uuid as fill_id, '' as symbol, 0 as step
    from strategy.accounts where settings ? 'initial_cash'
    union all
    select f.account_id, f.instance_id, 'TRADE', f.currency,
        f.quantity * f.price * coalesce(p.multiplier, 1) * case f.side when 'BUY' then -1 else 1 end, f.received_at, '', f.fill_id, f.symbol, 1
    from strategy.fills f
    left join strategy.positions p on p.account_id = f.account_id and p.instance_id = coalesce(f.instance_id, '') and p.symbol = f.symbol
    union all
    select account_id, instance_id, 'COMMISSION', currency, -commission, received_at, '', fill_id, symbol, 2
    from strategy.fills where commission <> 0
)
insert into strategy.cash_movements (account_id, instance_id, kind, currency, amount, time, detail, fill_id, symbol, balance_after)
select account_id, instance_id, kind, currency, amount, time, detail, fill_id, symbol,
    sum(amount) over (partition by account_id, currency order by time, fill_id nulls first, step)
from told order by time, fill_id nulls first, step;
