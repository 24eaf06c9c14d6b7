-- Trading states that end by themselves.

alter table strategy.trading_states add column expires_at timestamptz;
comment on column strategy.trading_states.expires_at is 'From then on the scope is ACTIVE again; null: only when somebody sets it';
create index trading_states_expiry on strategy.trading_states (expires_at) where expires_at is not null;
