-- How live connections are, for every replica of the DataHub: each tells of its own feeds, and does what another one was asked to do.

create table datahub.feed_replicas (
    replica_id text        not null primary key,
    seen_at    timestamptz not null
);
comment on table datahub.feed_replicas is 'DataHub processes that run now; who has told nothing for a while has ended';

create table datahub.feed_states (
    replica_id text        not null references datahub.feed_replicas on delete cascade,
    feed_id    text        not null,
    feed       bytea       not null,
    symbols    bytea       not null,
    told_at    timestamptz not null,
    primary key (replica_id, feed_id)
);
comment on column datahub.feed_states.feed is 'The connection, as a message Feed of the contract';
comment on column datahub.feed_states.symbols is 'Its symbols, as a compressed message ListSymbolFeedsResponse of the contract';

create table datahub.feed_requests (
    request_id bigint      generated always as identity primary key,
    replica_id text        not null references datahub.feed_replicas on delete cascade,
    feed_id    text        not null,
    symbols    text[]      not null,
    asked_at   timestamptz not null
);
comment on table datahub.feed_requests is 'Connections that are to be made anew, asked of a replica by another one; the row goes when it is done';
