-- Decisions and money. Quantities, prices of orders and fills, and cash are exact (numeric). What happened in a run is in ops.events under
-- its run_id; the tables here hold the present state and the records that are asked for by column.

create table strategy.accounts (
    account_id    text        not null primary key check (account_id ~ '^[a-z][a-z0-9-]{0,62}$'),
    display_name  text        not null default '',
    broker        text        not null,
    mode          text        not null check (mode in ('PAPER', 'LIVE')),
    currency      text        not null check (length(currency) between 1 and 16),
    settings      jsonb       not null default '{}',
    reconciled_at timestamptz,
    created_at    timestamptz not null default now(),
    created_by    jsonb,
    updated_at    timestamptz not null default now(),
    revision      bigint      not null default 1,
    deleted_at    timestamptz
);
comment on column strategy.accounts.broker is 'Name of the broker in the code registry';

create table strategy.account_balances (
    account_id text        not null references strategy.accounts,
    currency   text        not null,
    total      numeric     not null default 0,
    locked     numeric     not null default 0,
    borrowed   numeric     not null default 0,
    updated_at timestamptz not null default now(),
    primary key (account_id, currency)
);

-- A strategy with everything that it needs to run. Ids are never used again, so a deleted instance keeps its row.
create table strategy.instances (
    instance_id      text        not null primary key check (instance_id ~ '^[a-z][a-z0-9-]{0,62}$'),
    display_name     text        not null default '',
    description      text        not null default '',
    labels           jsonb       not null default '{}',
    strategy         text        not null,
    code_version     integer     not null default 0,
    mode             text        not null check (mode in ('BACKTEST', 'PAPER', 'LIVE')),
    parameters       jsonb       not null default '{}',
    universe         jsonb       not null,
    schedule         jsonb,
    account_id       text        references strategy.accounts,
    capital          numeric,
    capital_currency text,
    backtest_terms   jsonb,
    restart_policy   jsonb,
    limits           jsonb,
    seed             numeric     not null default 0 check (seed between 0 and 18446744073709551615),
    enabled          boolean     not null default false,
    state            text        not null default 'STOPPED'
                     check (state in ('STOPPED', 'WAITING', 'STARTING', 'WARMING_UP', 'RUNNING', 'PAUSED', 'STOPPING', 'BACKING_OFF', 'FAILED')),
    state_text       text        not null default '',
    state_at         timestamptz not null default now(),
    next_start_at    timestamptz,
    run_id           uuid,
    last_run_id      uuid,
    restart_needed   boolean     not null default false,
    summary          jsonb       not null default '{}',
    worker           text,
    lease_until      timestamptz,
    created_at       timestamptz not null default now(),
    created_by       jsonb,
    updated_at       timestamptz not null default now(),
    revision         bigint      not null default 1,
    deleted_at       timestamptz,
    check ((capital is null) = (capital_currency is null))
);
create index instances_strategy on strategy.instances (strategy);
create index instances_due on strategy.instances (next_start_at) where enabled;
comment on column strategy.instances.code_version is '0: the version that is active at each start';

create table strategy.runs (
    run_id           uuid        not null default gen_random_uuid() primary key,
    instance_id      text        references strategy.instances,
    run_number       bigint      not null default 1,
    mode             text        not null check (mode in ('BACKTEST', 'PAPER', 'LIVE')),
    strategy         text        not null,
    code_version     integer     not null,
    code_sha256      text        not null default '',
    parameters       jsonb       not null default '{}',
    series           jsonb       not null default '[]',
    account_id       text        references strategy.accounts,
    broker           text        not null default '',
    capital          numeric,
    capital_currency text,
    seed             numeric     not null default 0 check (seed between 0 and 18446744073709551615),
    backtest_id      uuid,
    state            text        not null default 'STARTING'
                     check (state in ('STARTING', 'WARMING_UP', 'RUNNING', 'PAUSED', 'RECOVERING', 'STOPPING', 'COMPLETED', 'STOPPED', 'FAILED')),
    state_text       text        not null default '',
    restarts         integer     not null default 0,
    last_sequence    bigint      not null default 0,
    last_intent      bigint      not null default 0,
    metrics          jsonb       not null default '{}',
    checkpoint       jsonb       not null default '{}',
    started_by       jsonb,
    started_at       timestamptz not null default now(),
    ready_at         timestamptz,
    finished_at      timestamptz,
    check ((finished_at is not null) = (state in ('COMPLETED', 'STOPPED', 'FAILED')))
);
create unique index runs_number on strategy.runs (instance_id, run_number) where instance_id is not null;
create index runs_newest on strategy.runs (started_at desc, run_id desc);
create index runs_open on strategy.runs (instance_id) where finished_at is null;
comment on column strategy.runs.last_intent is 'Number of the last order intent that was taken from the strategy: a restart takes none twice';

-- Orders. The row is written before anything is sent, and its id is never used again.
create table strategy.orders (
    client_order_id        text        not null primary key check (length(client_order_id) between 1 and 64),
    broker_order_id        text,
    account_id             text        not null references strategy.accounts,
    broker                 text        not null,
    instance_id            text        references strategy.instances,
    run_id                 uuid        references strategy.runs,
    intent_number          bigint,
    leg                    integer     not null default 0,
    origin                 text        not null check (origin in ('STRATEGY', 'MANUAL', 'ENGINE', 'EXTERNAL')),
    symbol                 text        not null,
    broker_symbol          text        not null default '',
    currency               text        not null default '',
    side                   text        not null check (side in ('BUY', 'SELL')),
    type                   text        not null check (type in (
                               'MARKET', 'LIMIT', 'STOP', 'STOP_LIMIT', 'TRAILING_STOP', 'MARKET_IF_TOUCHED', 'LIMIT_IF_TOUCHED')),
    quantity               numeric     check (quantity > 0),
    notional               numeric     check (notional > 0),
    limit_price            numeric,
    trigger_price          numeric,
    time_in_force          text        not null default 'GTC' check (time_in_force in ('GTC', 'DAY', 'IOC', 'FOK', 'GTD', 'AT_OPEN', 'AT_CLOSE')),
    expires_at             timestamptz,
    reduce_only            boolean     not null default false,
    spec                   jsonb       not null,
    status                 text        not null check (status in (
                               'DENIED', 'PENDING_NEW', 'HELD', 'SUBMITTED', 'ACCEPTED', 'TRIGGERED', 'PARTIALLY_FILLED', 'FILLED',
                               'PENDING_CANCEL', 'CANCELLED', 'PENDING_REPLACE', 'REJECTED', 'EXPIRED', 'UNRESOLVED')),
    status_text            text        not null default '',
    denials                jsonb       not null default '[]',
    filled_quantity        numeric     not null default 0,
    average_fill_price     numeric,
    commissions            jsonb       not null default '[]',
    parent_client_order_id text        references strategy.orders,
    group_id               text        not null default '',
    contingency            text        not null default '' check (contingency in ('', 'OCO', 'OUO', 'OTO')),
    reference_price        numeric,
    tag                    text        not null default '',
    decided_at             timestamptz,
    created_at             timestamptz not null default now(),
    submitted_at           timestamptz,
    accepted_at            timestamptz,
    updated_at             timestamptz not null default now(),
    final_at               timestamptz,
    revision               bigint      not null default 1,
    actor                  jsonb,
    check (quantity is not null or notional is not null),
    check ((final_at is not null) = (status in ('DENIED', 'FILLED', 'CANCELLED', 'REJECTED', 'EXPIRED')))
);
create unique index orders_broker on strategy.orders (account_id, broker_order_id) where broker_order_id is not null;
create unique index orders_intent on strategy.orders (run_id, intent_number, leg) where intent_number is not null;
create index orders_open on strategy.orders (account_id, symbol) where final_at is null;
create index orders_newest on strategy.orders (created_at desc, client_order_id desc);
create index orders_instance on strategy.orders (instance_id, created_at desc);
create index orders_run on strategy.orders (run_id, created_at);
create index orders_group on strategy.orders (group_id) where group_id <> '';
comment on column strategy.orders.spec is 'The order as it was asked for; the columns hold what holds now';

create table strategy.fills (
    fill_id          uuid        not null default gen_random_uuid() primary key,
    broker_fill_id   text        not null,
    client_order_id  text        not null references strategy.orders,
    account_id       text        not null references strategy.accounts,
    instance_id      text,
    run_id           uuid,
    symbol           text        not null,
    side             text        not null check (side in ('BUY', 'SELL')),
    quantity         numeric     not null,
    price            numeric     not null,
    currency         text        not null default '',
    commission       numeric     not null default 0,
    commission_currency text     not null default '',
    liquidity_side   text        not null default '' check (liquidity_side in ('', 'MAKER', 'TAKER', 'AUCTION')),
    filled_at        timestamptz not null,
    received_at      timestamptz not null default now(),
    position_after   numeric,
    realised_pnl     numeric,
    corrects_fill_id uuid        references strategy.fills,
    tag              text        not null default '',
    unique (account_id, broker_fill_id)
);
create index fills_order on strategy.fills (client_order_id);
create index fills_newest on strategy.fills (filled_at desc, fill_id desc);
create index fills_instance on strategy.fills (instance_id, filled_at desc);
create index fills_run on strategy.fills (run_id, filled_at);

create table strategy.positions (
    account_id    text        not null references strategy.accounts,
    instance_id   text        not null default '',
    symbol        text        not null,
    broker_symbol text        not null default '',
    currency      text        not null default '',
    quantity      numeric     not null default 0,
    average_price numeric,
    multiplier    numeric     not null default 1,
    mark_price    numeric,
    marked_at     timestamptz,
    realised_pnl  numeric     not null default 0,
    commission    numeric     not null default 0,
    day_start     jsonb       not null default '{}',
    opened_at     timestamptz,
    updated_at    timestamptz not null default now(),
    revision      bigint      not null default 1,
    primary key (account_id, instance_id, symbol)
);
create index positions_open on strategy.positions (account_id, symbol) where quantity <> 0;
comment on column strategy.positions.instance_id is 'Empty: what the account holds beyond the instances';
comment on column strategy.positions.quantity is 'Negative: short';

-- Points of the equity curve of an instance or an account.
create table strategy.equity (
    scope          text        not null check (scope in ('INSTANCE', 'ACCOUNT')),
    scope_id       text        not null,
    time           timestamptz not null,
    run_id         uuid,
    currency       text        not null,
    equity         numeric     not null,
    cash           numeric,
    gross_exposure numeric,
    net_exposure   numeric,
    realised_pnl   numeric,
    unrealised_pnl numeric,
    primary key (scope, scope_id, time)
);
create index equity_run on strategy.equity (run_id, time) where run_id is not null;

-- Money that came or went other than by a trade.
create table strategy.cash_movements (
    movement_id bigint      not null generated always as identity primary key,
    account_id  text        not null references strategy.accounts,
    instance_id text,
    kind        text        not null,
    currency    text        not null,
    amount      numeric     not null,
    time        timestamptz not null,
    detail      text        not null default '',
    reference   text        unique
);
create index cash_movements_account on strategy.cash_movements (account_id, time desc);

create table strategy.policies (
    policy_id   text        not null primary key check (length(policy_id) between 1 and 100),
    scope       text        not null check (scope in ('INSTRUMENT', 'STRATEGY', 'ACCOUNT', 'PLATFORM')),
    scope_id    text        not null default '',
    description text        not null default '',
    rules       jsonb       not null,
    enabled     boolean     not null default true,
    created_at  timestamptz not null default now(),
    created_by  jsonb,
    updated_at  timestamptz not null default now(),
    updated_by  jsonb,
    revision    bigint      not null default 1,
    check ((scope = 'PLATFORM') = (scope_id = ''))
);
create index policies_scope on strategy.policies (scope, scope_id);

-- Whether a scope may trade. No row: ACTIVE.
create table strategy.trading_states (
    scope    text        not null check (scope in ('INSTRUMENT', 'STRATEGY', 'ACCOUNT', 'PLATFORM')),
    scope_id text        not null default '',
    state    text        not null check (state in ('ACTIVE', 'REDUCE_ONLY', 'HALTED')),
    reason   text        not null default '',
    set_at   timestamptz not null default now(),
    set_by   jsonb,
    revision bigint      not null default 1,
    primary key (scope, scope_id)
);

-- Orders that policy refused, with the numbers.
create table strategy.denials (
    denial_id       bigint      not null generated always as identity primary key,
    time            timestamptz not null default now(),
    client_order_id text        not null,
    account_id      text        not null,
    instance_id     text,
    run_id          uuid,
    symbol          text        not null,
    reason          text        not null,
    scope           text        not null,
    scope_id        text        not null default '',
    policy_id       text,
    bound           numeric,
    value           numeric,
    unit            text        not null default '',
    detail          text        not null default ''
);
create index denials_newest on strategy.denials (time desc, denial_id desc);
create index denials_instance on strategy.denials (instance_id, time desc);

-- Comparisons of what the platform believes with what the broker says.
create table strategy.reconciliations (
    reconciliation_id bigint      not null generated always as identity primary key,
    account_id        text        not null references strategy.accounts,
    trigger           text        not null,
    started_at        timestamptz not null default now(),
    finished_at       timestamptz,
    succeeded         boolean,
    differences       jsonb       not null default '[]',
    detail            text        not null default ''
);
create index reconciliations_account on strategy.reconciliations (account_id, reconciliation_id desc);

create table strategy.sweeps (
    sweep_id     uuid        not null default gen_random_uuid() primary key,
    display_name text        not null default '',
    labels       jsonb       not null default '{}',
    strategy     text        not null,
    code_version integer     not null default 0,
    code_sha256  text        not null default '',
    source       bytea,
    parameters   jsonb       not null default '{}',
    universe     jsonb       not null,
    terms        jsonb       not null,
    spec         jsonb       not null,
    state        text        not null default 'PENDING' check (state in ('PENDING', 'LOADING', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED')),
    error        text        not null default '',
    operation_id uuid,
    executor     text        not null default '',
    totals       jsonb       not null default '{}',
    windows      jsonb       not null default '[]',
    statistics   jsonb,
    created_at   timestamptz not null default now(),
    created_by   jsonb,
    started_at   timestamptz,
    finished_at  timestamptz
);
create index sweeps_newest on strategy.sweeps (created_at desc, sweep_id desc);

create table strategy.backtests (
    backtest_id    uuid        not null default gen_random_uuid() primary key,
    display_name   text        not null default '',
    labels         jsonb       not null default '{}',
    strategy       text        not null,
    code_version   integer     not null default 0,
    code_sha256    text        not null default '',
    source         bytea,
    parameters     jsonb       not null default '{}',
    universe       jsonb       not null,
    series         jsonb       not null default '[]',
    terms          jsonb       not null,
    state          text        not null default 'PENDING' check (state in ('PENDING', 'LOADING', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED')),
    error          text        not null default '',
    operation_id   uuid,
    sweep_id       uuid        references strategy.sweeps on delete cascade,
    trial_number   integer,
    instance_id    text        references strategy.instances,
    run_id         uuid,
    statistics     jsonb,
    findings       jsonb       not null default '[]',
    data_sha256    text        not null default '',
    engine_version text        not null default '',
    timing         jsonb       not null default '{}',
    created_at     timestamptz not null default now(),
    created_by     jsonb,
    started_at     timestamptz,
    finished_at    timestamptz,
    check ((finished_at is not null) = (state in ('SUCCEEDED', 'FAILED', 'CANCELLED')))
);
create index backtests_newest on strategy.backtests (created_at desc, backtest_id desc);
create index backtests_strategy on strategy.backtests (strategy, created_at desc);
create index backtests_sweep on strategy.backtests (sweep_id, trial_number) where sweep_id is not null;
comment on column strategy.backtests.source is 'The code, when it was sent along and is not in the registry';

create table strategy.sweep_trials (
    sweep_id      uuid    not null references strategy.sweeps on delete cascade,
    trial_number  integer not null,
    "window"      integer not null default 0,
    out_of_sample boolean not null default false,
    parameters    jsonb   not null,
    state         text    not null default 'PENDING' check (state in ('PENDING', 'LOADING', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED')),
    error         text    not null default '',
    score         double precision,
    accepted      boolean not null default true,
    statistics    jsonb,
    backtest_id   uuid    references strategy.backtests on delete set null,
    elapsed_s     double precision,
    worker        text,
    lease_until   timestamptz,
    primary key (sweep_id, trial_number)
);
create index sweep_trials_best on strategy.sweep_trials (sweep_id, score desc nulls last);

-- Records of a back-test, in the order in which they came to be. `data` holds the record as the contract shows it.
create table strategy.backtest_orders (
    backtest_id     uuid        not null references strategy.backtests on delete cascade,
    position        integer     not null,
    client_order_id text        not null,
    symbol          text        not null,
    status          text        not null,
    created_at      timestamptz not null,
    data            jsonb       not null,
    primary key (backtest_id, position)
);
create table strategy.backtest_fills (
    backtest_id     uuid        not null references strategy.backtests on delete cascade,
    position        integer     not null,
    client_order_id text        not null,
    symbol          text        not null,
    side            text        not null check (side in ('BUY', 'SELL')),
    quantity        numeric     not null,
    price           numeric     not null,
    commission      numeric     not null default 0,
    filled_at       timestamptz not null,
    data            jsonb       not null default '{}',
    primary key (backtest_id, position)
);
create table strategy.backtest_trades (
    backtest_id  uuid             not null references strategy.backtests on delete cascade,
    position     integer          not null,
    symbol       text             not null,
    side         text             not null check (side in ('LONG', 'SHORT')),
    quantity     numeric          not null,
    entry_time   timestamptz      not null,
    exit_time    timestamptz,
    entry_price  numeric          not null,
    exit_price   numeric,
    pnl          numeric,
    return_ratio double precision,
    commission   numeric          not null default 0,
    bars         integer,
    tag          text             not null default '',
    data         jsonb            not null default '{}',
    primary key (backtest_id, position)
);
-- Curves are kept as columns: a curve of a million points is a few rows that are read whole.
create table strategy.backtest_curves (
    backtest_id uuid    not null references strategy.backtests on delete cascade,
    name        text    not null,
    symbol      text    not null default '',
    part        integer not null default 0,
    points      integer not null check (points > 0),
    start_time  timestamptz not null,
    end_time    timestamptz not null,
    times       bytea   not null,
    "values"    bytea   not null,
    primary key (backtest_id, name, symbol, part)
);
comment on column strategy.backtest_curves.times is 'int64 nanoseconds UTC, little-endian';
comment on column strategy.backtest_curves."values" is 'float64, little-endian, as many as times';
create table strategy.backtest_logs (
    backtest_id uuid        not null references strategy.backtests on delete cascade,
    sequence    bigint      not null,
    event_time  timestamptz,
    recorded_at timestamptz not null default now(),
    level       text        not null,
    message     text        not null,
    place       text        not null default '',
    primary key (backtest_id, sequence)
);
