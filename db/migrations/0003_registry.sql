-- What exists: code and its versions, assets and who they are, common symbols, indices, subscriptions.
--
-- Nothing here owns market data: the DataHub's series are named by provider and symbol, and outlive all rows of this schema.
-- `revision` counts the changes of a row; it is what etags are made of.

-- One provider, broker or strategy by its name. A deleted entry keeps its row, so that an upload of the same name goes on counting versions.
create table registry.code_registry (
    code_id             integer     not null generated always as identity primary key,
    kind                text        not null check (kind in ('provider', 'broker', 'strategy')),
    name                text        not null check (length(name) between 1 and 100),
    built_in            boolean     not null default false,
    active_version      integer,
    latest_version      integer     not null default 0,
    preferences         jsonb       not null default '{}',
    preferences_set_at  timestamptz,
    preferences_set_by  jsonb,
    revision            bigint      not null default 1,
    created_at          timestamptz not null default now(),
    created_by          jsonb,
    updated_at          timestamptz not null default now(),
    deleted_at          timestamptz
);
create unique index code_registry_name on registry.code_registry (kind, lower(name));
comment on column registry.code_registry.active_version is 'The version that runs; null: none';
comment on column registry.code_registry.preferences is 'What somebody stored; defaults come from the manifest of the active version';
comment on column registry.code_registry.created_by is 'Actor: principal, role, request_id';

create table registry.code_versions (
    code_id      integer     not null references registry.code_registry,
    version      integer     not null check (version > 0),
    sha256       bytea       not null check (octet_length(sha256) = 32),
    file_name    text        not null,
    source       bytea,
    size_bytes   bigint      not null default 0,
    file_count   integer     not null default 1,
    manifest     jsonb       not null,
    report       jsonb       not null default '{}',
    note         text        not null default '',
    created_at   timestamptz not null default now(),
    created_by   jsonb,
    activated_at timestamptz,
    primary key (code_id, version),
    unique (code_id, sha256)
);
-- Archives are compressed already.
alter table registry.code_versions alter column source set storage external;
comment on column registry.code_versions.source is 'The uploaded bytes, a .py file or a zip; null for built-in code';
comment on column registry.code_versions.report is 'The validation report with which the version was accepted';
alter table registry.code_registry
    add foreign key (code_id, active_version) references registry.code_versions (code_id, version) deferrable initially deferred;

-- Secrets of a class, sealed under the system context. In a table of its own, so that reading the registry does not mean reading them.
create table registry.code_secrets (
    code_id    integer     not null primary key references registry.code_registry,
    version    integer     not null check (version > 0),
    sealed     bytea       not null,
    names      text[]      not null,
    updated_at timestamptz not null default now(),
    updated_by jsonb
);
comment on column registry.code_secrets.version is 'Counts replacements; part of what the envelope is bound to, with kind and name of the class';
comment on column registry.code_secrets.sealed is 'Envelope of quasar.secrets over a JSON object of name and value';

create view registry.provider_secrets as
    select c.code_id, c.kind, c.name, s.version, s.sealed, s.names, s.updated_at
    from registry.code_secrets s join registry.code_registry c using (code_id)
    where c.kind = 'provider';
create view registry.trading_secrets as
    select c.code_id, c.kind, c.name, s.version, s.sealed, s.names, s.updated_at
    from registry.code_secrets s join registry.code_registry c using (code_id)
    where c.kind in ('broker', 'strategy');

-- Reference data about instruments, imported as manifests. A later import of the same name changes, adds and withdraws.
create table registry.identity_manifests (
    manifest_id integer     not null generated always as identity primary key,
    name        text        not null check (length(name) between 1 and 100),
    version     integer     not null check (version > 0),
    file_name   text        not null,
    format      text        not null check (format in ('CSV', 'YAML', 'PARQUET')),
    mode        text        not null check (mode in ('SNAPSHOT', 'DELTA')),
    sha256      bytea       not null,
    size_bytes  bigint      not null,
    rows        bigint      not null default 0,
    added       bigint      not null default 0,
    updated     bigint      not null default 0,
    unchanged   bigint      not null default 0,
    withdrawn   bigint      not null default 0,
    rejected    bigint      not null default 0,
    created_at  timestamptz not null default now(),
    created_by  jsonb,
    unique (name, version)
);

-- Who an instrument is. A rename or the reuse of a ticker is a second row with another validity.
create table registry.identities (
    identity_row     bigint      not null generated always as identity primary key,
    identity_id      text        not null check (length(identity_id) between 1 and 100),
    figi             text,
    composite_figi   text,
    share_class_figi text,
    isin             text,
    cusip            text,
    exchange         text        not null default '',
    symbol           text        not null,
    name             text        not null default '',
    asset_class      text        not null default '',
    identity_group   text        not null default '' check (identity_group in ('', 'securities', 'crypto', 'currency', 'derivatives')),
    currency         text        not null default '',
    country          text        not null default '',
    valid_from       timestamptz not null default '-infinity',
    valid_to         timestamptz not null default 'infinity',
    manifest         text        not null,
    manifest_version integer     not null,
    withdrawn        boolean     not null default false,
    attributes       jsonb       not null default '{}',
    created_at       timestamptz not null default now(),
    updated_at       timestamptz not null default now(),
    check (valid_from < valid_to),
    unique (manifest, identity_id, exchange, symbol, valid_from)
);
create index identities_id on registry.identities (identity_id);
create index identities_symbol on registry.identities (identity_group, upper(symbol), exchange);
create index identities_figi on registry.identities (figi) where figi is not null;
create index identities_composite_figi on registry.identities (composite_figi) where composite_figi is not null;
create index identities_isin on registry.identities (isin) where isin is not null;
comment on column registry.identities.identity_id is 'FIGI where there is one, else ISIN, else a name made from exchange and symbol';

create table registry.identity_aliases (
    identity_row bigint not null references registry.identities on delete cascade,
    alias        text   not null,
    primary key (identity_row, alias)
);
create index identity_aliases_alias on registry.identity_aliases (upper(alias));

-- A symbol as one provider or broker writes it.
create table registry.assets (
    asset_id          bigint           not null generated always as identity primary key,
    code_id           integer          not null references registry.code_registry,
    symbol            text             not null check (length(symbol) between 1 and 200),
    state             text             not null default 'LISTED' check (state in ('LISTED', 'VANISHED')),
    external_id       text             not null default '',
    name              text             not null default '',
    exchange          text             not null default '',
    asset_class       text             not null default '' check (asset_class in (
                          '', 'equity', 'fund', 'etf', 'mutual_fund', 'money_market', 'bond', 'preferred', 'adr', 'warrant', 'right', 'unit',
                          'reit', 'index', 'currency', 'crypto', 'commodity', 'future', 'option', 'cfd', 'rate', 'structured')),
    base_currency     text             not null default '',
    quote_currency    text             not null default '',
    country           text             not null default '',
    matcher_symbol    text             not null default '',
    root_symbol       text             not null default '',
    full_symbol       text             not null default '',
    identity_group    text             not null default '' check (identity_group in ('', 'securities', 'crypto', 'currency', 'derivatives')),
    identity_state    text             not null default 'UNIDENTIFIED'
                      check (identity_state in ('UNIDENTIFIED', 'PROPOSED', 'IDENTIFIED', 'NOT_APPLICABLE')),
    identity_id       text             not null default '',
    identity_origin   text             not null default '' check (identity_origin in ('', 'MATCHER', 'PROVIDER', 'MANUAL')),
    match_method      text             not null default ''
                      check (match_method in ('', 'PROVIDER_ID', 'EXACT_SYMBOL', 'EXACT_ALIAS', 'FUZZY_SYMBOL', 'MANUAL')),
    match_confidence  double precision,
    match_reason      text             not null default '',
    matched_at        timestamptz,
    price_increment   numeric,
    size_increment    numeric,
    minimum_size      numeric,
    minimum_notional  numeric,
    multiplier        numeric,
    expires_at        timestamptz,
    attributes        jsonb            not null default '{}',
    manual_fields     text[]           not null default '{}',
    first_seen_at     timestamptz      not null default now(),
    last_seen_at      timestamptz      not null default now(),
    vanished_at       timestamptz,
    updated_at        timestamptz      not null default now(),
    revision          bigint           not null default 1,
    unique (code_id, symbol),
    unique (asset_id, code_id),
    check ((identity_id <> '') = (identity_state = 'IDENTIFIED'))
);
create index assets_identity on registry.assets (identity_id) where identity_id <> '';
create index assets_external on registry.assets (external_id) where external_id <> '';
-- Each further index slows the merge of a source's symbols; the lists bring theirs when they are measured to need them.
comment on column registry.assets.root_symbol is 'Symbol without exchange suffix and separators, in lower case: what suggestions compare';
comment on column registry.assets.full_symbol is 'Symbol without separators, in lower case';
comment on column registry.assets.manual_fields is 'Fields that somebody set by hand; a sync leaves them alone';

-- A match that is not certain enough to be taken silently.
create table registry.match_proposals (
    proposal_id        bigint           not null generated always as identity primary key,
    asset_id           bigint           not null references registry.assets on delete cascade,
    state              text             not null default 'OPEN' check (state in ('OPEN', 'ACCEPTED', 'REJECTED', 'SUPERSEDED')),
    cause              text             not null check (cause in ('AMBIGUOUS', 'LOW_CONFIDENCE', 'TAKEN', 'CONTRADICTION')),
    best               jsonb            not null,
    runner_up          jsonb,
    further_candidates integer          not null default 0,
    confidence         double precision not null default 0,
    operation_id       uuid,
    created_at         timestamptz      not null default now(),
    decided_at         timestamptz,
    decided_by         jsonb,
    revision           bigint           not null default 1
);
create unique index match_proposals_open on registry.match_proposals (asset_id) where state = 'OPEN';
create index match_proposals_newest on registry.match_proposals (state, proposal_id desc);

-- The platform's own name for an instrument. Mappings and members point at the row, so a rename is one update.
create table registry.common_symbols (
    common_symbol_id integer     not null generated always as identity primary key,
    symbol           text        not null check (length(symbol) between 1 and 200 and symbol = btrim(symbol)),
    description      text        not null default '',
    explicit         boolean     not null default false,
    created_at       timestamptz not null default now(),
    updated_at       timestamptz not null default now(),
    revision         bigint      not null default 1
);
create unique index common_symbols_symbol on registry.common_symbols (lower(symbol));
create index common_symbols_order on registry.common_symbols (symbol, common_symbol_id);
comment on column registry.common_symbols.explicit is 'Somebody created it: it stays although nothing points at it';

create table registry.asset_mapping (
    mapping_id       bigint      not null generated always as identity primary key,
    asset_id         bigint      not null unique,
    code_id          integer     not null,
    common_symbol_id integer     not null references registry.common_symbols,
    active           boolean     not null default true,
    origin           text        not null check (origin in ('MANUAL', 'SUGGESTED', 'AUTOMATIC')),
    reason           text        not null default '',
    created_at       timestamptz not null default now(),
    updated_at       timestamptz not null default now(),
    updated_by       jsonb,
    revision         bigint      not null default 1,
    unique (common_symbol_id, code_id),
    foreign key (asset_id, code_id) references registry.assets (asset_id, code_id)
);
create index asset_mapping_code on registry.asset_mapping (code_id);
comment on column registry.asset_mapping.code_id is 'The asset''s source: one asset a source for a common symbol';

-- Named sets of instruments. Their names are a name space of their own.
create table registry.indices (
    index_id           integer     not null generated always as identity primary key,
    name               text        not null check (length(name) between 1 and 100),
    type               text        not null check (type in ('USER', 'PROVIDER')),
    code_id            integer     references registry.code_registry,
    description        text        not null default '',
    sync_frequency     text        check (sync_frequency in ('MANUAL', 'DAILY', 'WEEKLY', 'MONTHLY', 'CRON')),
    sync_cron          text        not null default '',
    sync_time_zone     text        not null default '',
    last_sync_at       timestamptz,
    last_sync_state    text        not null default '' check (last_sync_state in ('', 'SUCCEEDED', 'EMPTY_ANSWER', 'HELD_BACK', 'FAILED')),
    last_sync_message  text        not null default '',
    members_changed_at timestamptz,
    created_at         timestamptz not null default now(),
    created_by         jsonb,
    updated_at         timestamptz not null default now(),
    revision           bigint      not null default 1,
    check ((type = 'PROVIDER') = (code_id is not null))
);
create unique index indices_name on registry.indices (lower(name));
comment on column registry.indices.sync_frequency is 'Null: as the provider''s preference says';

-- Who was a member with what weight over what time. History is never rewritten: a change closes a period and opens another.
create table registry.index_memberships (
    membership_id    bigint           not null generated always as identity primary key,
    index_id         integer          not null references registry.indices,
    common_symbol_id integer          references registry.common_symbols,
    asset_id         bigint           references registry.assets,
    name             text             not null default '',
    asset_class      text             not null default '',
    weight           double precision check (weight >= 0),
    valid_from       timestamptz      not null,
    valid_to         timestamptz      not null default 'infinity',
    check (num_nonnulls(common_symbol_id, asset_id) = 1),
    check (valid_from < valid_to)
);
create unique index index_memberships_now_symbol on registry.index_memberships (index_id, common_symbol_id)
    where valid_to = 'infinity' and common_symbol_id is not null;
create unique index index_memberships_now_asset on registry.index_memberships (index_id, asset_id)
    where valid_to = 'infinity' and asset_id is not null;
create index index_memberships_period on registry.index_memberships (index_id, valid_from, valid_to);
create index index_memberships_symbol on registry.index_memberships (common_symbol_id) where common_symbol_id is not null;
create index index_memberships_asset on registry.index_memberships (asset_id) where asset_id is not null;

-- What is to be collected: a selection of symbols of one provider at one interval.
create table registry.provider_subscription (
    subscription_id uuid        not null default gen_random_uuid() primary key,
    code_id         integer     not null references registry.code_registry,
    selector        jsonb       not null,
    interval        text        not null check (length(interval) <= 32),
    historical      boolean     not null default true,
    live            boolean     not null default false,
    store_ticks     boolean     not null default false,
    cron            text        not null default '',
    time_zone       text        not null default '',
    backfill_start  timestamptz,
    note            text        not null default '',
    state           text        not null default 'ACTIVE' check (state in ('ACTIVE', 'PAUSED')),
    pause_reason    text        not null default '',
    request_id      text,
    created_at      timestamptz not null default now(),
    created_by      jsonb,
    updated_at      timestamptz not null default now(),
    revision        bigint      not null default 1
);
create index provider_subscription_code on registry.provider_subscription (code_id, interval);
create index provider_subscription_newest on registry.provider_subscription (created_at desc, subscription_id desc);
create unique index provider_subscription_request on registry.provider_subscription (request_id) where request_id is not null;
comment on column registry.provider_subscription.interval is 'Canonical form; empty: ticks only';
comment on column registry.provider_subscription.backfill_start is 'How far back to collect; null: from the provider''s declared depth';

-- What a subscription's selection comes down to now. The DataHub collects the distinct symbols of the active ones.
create table registry.subscription_symbols (
    subscription_id uuid   not null references registry.provider_subscription on delete cascade,
    symbol          text   not null check (length(symbol) between 1 and 200),
    asset_id        bigint references registry.assets,
    resolved_at     timestamptz not null default now(),
    primary key (subscription_id, symbol)
);
create index subscription_symbols_symbol on registry.subscription_symbols (symbol);
create index subscription_symbols_asset on registry.subscription_symbols (asset_id) where asset_id is not null;
