-- What the registry's services need beside the tables of code and subscriptions: answers of repeated requests, the names that a selection
-- mentions, what of it cannot be resolved, and a counter that tells a reader that the selected series changed under it.

alter table registry.code_registry add column preferences_revision bigint not null default 0;
comment on column registry.code_registry.preferences_revision is 'Counts the changes of the preferences; their etag is made of it';

-- A request that is repeated with its id has the answer of the first.
create table registry.requests (
    method      text        not null,
    request_id  text        not null check (length(request_id) between 1 and 64),
    fingerprint bytea       not null check (octet_length(fingerprint) = 32),
    answer      jsonb       not null,
    created_at  timestamptz not null default now(),
    primary key (method, request_id)
);
create index requests_age on registry.requests (created_at);
comment on column registry.requests.fingerprint is 'SHA-256 of the request; the same id with another request is refused';
comment on column registry.requests.answer is 'What the answer is built from again: names, ids and counts; never a secret';

alter table registry.provider_subscription
    add column provider        text,
    add column selection_kind  text
        check (selection_kind in ('symbol', 'symbols', 'common_symbol', 'common_symbols', 'index', 'assets')),
    add column selection_name  text,
    add column selection_names text[],
    add column selection_key   bytea check (octet_length(selection_key) = 32);
comment on column registry.provider_subscription.selection_name is 'What the selection names, for people and for sorting; long lists are cut';
comment on column registry.provider_subscription.selection_names is 'The symbols, common symbols or the index that the selection names';
comment on column registry.provider_subscription.selection_key is 'SHA-256 of the selection in a canonical form: equal selections have equal keys';

update registry.provider_subscription s
set provider = c.name,
    selection_kind = (select min(k) from jsonb_object_keys(s.selector) k),
    selection_name = left(s.selector::text, 200),
    selection_names = '{}',
    selection_key = sha256(convert_to(s.selector::text, 'UTF8'))
from registry.code_registry c
where c.code_id = s.code_id;

alter table registry.provider_subscription
    alter column provider set not null,
    alter column selection_kind set not null,
    alter column selection_name set not null,
    alter column selection_names set not null,
    alter column selection_key set not null;
create unique index provider_subscription_selection on registry.provider_subscription (code_id, interval, selection_key);
create index provider_subscription_order on registry.provider_subscription (provider, selection_name, interval, subscription_id);

-- What of a selection cannot be collected, and why.
create table registry.subscription_unresolved (
    subscription_id uuid not null references registry.provider_subscription on delete cascade,
    name            text not null,
    cause           text not null
        check (cause in ('UNKNOWN_SYMBOL', 'UNKNOWN_COMMON_SYMBOL', 'UNMAPPED', 'UNKNOWN_INDEX')),
    primary key (subscription_id, name)
);

-- One row, changed by every transaction that changes what is selected, so that a reader of many pages notices it.
create table registry.selection_revision (
    one_row  boolean not null default true primary key check (one_row),
    revision bigint  not null
);
insert into registry.selection_revision (revision) values (1);
