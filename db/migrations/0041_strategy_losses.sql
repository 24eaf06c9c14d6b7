-- What the engine did when a limit on losses was reached, once for each breach, and the trading states that came of it.

create table strategy.loss_breaches (
    policy_id  text        not null,
    account_id text        not null,
    reason     text        not null check (reason in ('MAX_DAILY_LOSS', 'MAX_DRAWDOWN')),
    breach_id  uuid        not null,
    reached_at timestamptz not null,
    acted_at   timestamptz,
    primary key (policy_id, account_id, reason)
);
comment on table strategy.loss_breaches is 'Limits on losses that are reached now; the row goes when the loss is below the limit again';
comment on column strategy.loss_breaches.acted_at is 'When what the policy asks for was done; null: it is under way';

alter table strategy.trading_states
    add column cause   text not null default '',
    add column trigger jsonb;
comment on column strategy.trading_states.cause is 'The limit that made the engine set the state, by its reason code; empty: a person set it';
comment on column strategy.trading_states.trigger is 'The numbers of that limit, as a message Denial of the contract';
