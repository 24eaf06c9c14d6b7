-- What discovery, identities and the matcher need beside the tables of assets: what a source says about identity, keys in the form in which
-- they are compared, uploads of manifests in parts, rows that were not taken, proposals with their candidates.

alter table registry.assets
    add column source_identity text not null default '',
    add column match_key       text not null default '',
    add column name_key        text not null default '';
comment on column registry.assets.source_identity is 'FIGI or ISIN as the source gives it; empty: none';
comment on column registry.assets.match_key is 'What the matcher compares with symbols and aliases of identities, in upper case';
comment on column registry.assets.name_key is 'The name as similarities see it: lower case, without accents, letters beyond ASCII as their code';

-- When a source was last asked. Unchanged assets are not written again by a sync, so when they were last seen stands here.
create table registry.asset_syncs (
    code_id      integer     not null primary key references registry.code_registry,
    operation_id uuid        not null,
    completed_at timestamptz not null
);

alter table registry.identities
    add column match_key text   not null default '',
    add column name_key  text   not null default '',
    add column aliases   text[] not null default '{}';
update registry.identities i
set match_key = upper(symbol), name_key = lower(name),
    aliases = coalesce((select array_agg(upper(a.alias) order by a.alias) from registry.identity_aliases a where a.identity_row = i.identity_row), '{}');
drop table registry.identity_aliases;
comment on column registry.identities.aliases is 'Further symbols for the same thing in this period, in upper case';
create index identities_aliases on registry.identities using gin (aliases) where aliases <> '{}';
create index identities_match on registry.identities (match_key, identity_group);
create index identities_manifest on registry.identities (manifest, manifest_version);
create index identities_order on registry.identities (symbol, exchange, valid_from, identity_row);
create index identities_share_class_figi on registry.identities (share_class_figi) where share_class_figi is not null;

create table registry.identity_rejections (
    manifest_id integer not null references registry.identity_manifests on delete cascade,
    position    bigint  not null,
    line        bigint  not null,
    field       text    not null default '',
    value       text    not null default '',
    message     text    not null,
    primary key (manifest_id, position)
);

create table registry.manifest_uploads (
    upload_id  uuid        not null default gen_random_uuid() primary key,
    file_name  text        not null,
    size_bytes bigint      not null check (size_bytes > 0),
    sha256     bytea       check (octet_length(sha256) = 32),
    created_at timestamptz not null,
    created_by jsonb,
    touched_at timestamptz not null
);
create index manifest_uploads_age on registry.manifest_uploads (touched_at);
comment on column registry.manifest_uploads.touched_at is 'When its last part came; it expires a day later';

create table registry.manifest_parts (
    upload_id  uuid   not null references registry.manifest_uploads on delete cascade,
    part_start bigint not null check (part_start >= 0),
    number     bigint not null generated always as identity,
    content    bytea  not null,
    primary key (upload_id, part_start)
);
alter table registry.manifest_parts alter column content set storage external;
comment on column registry.manifest_parts.number is 'The order in which the parts came: where two overlap the later one holds';

-- Proposals get an identity that can be named from outside, previews of dry runs, and candidates that filters can see.
drop table registry.match_proposals;
create table registry.match_proposals (
    proposal_id        uuid             not null default gen_random_uuid() primary key,
    asset_id           bigint           not null references registry.assets on delete cascade,
    state              text             not null default 'OPEN'
                       check (state in ('OPEN', 'ACCEPTED', 'REJECTED', 'SUPERSEDED', 'PREVIEW')),
    cause              text             not null check (cause in ('AMBIGUOUS', 'LOW_CONFIDENCE', 'TAKEN', 'CONTRADICTION', 'DRY_RUN')),
    identity_id        text             not null,
    method             text             not null,
    confidence         double precision not null,
    best               jsonb            not null,
    runner_up          jsonb,
    further_candidates integer          not null default 0,
    operation_id       uuid             not null,
    created_at         timestamptz      not null default now(),
    decided_at         timestamptz,
    decided_by         jsonb,
    decision_reason    text             not null default '',
    revision           bigint           not null default 1
);
create unique index match_proposals_open on registry.match_proposals (asset_id) where state = 'OPEN';
create index match_proposals_asset on registry.match_proposals (asset_id);
create index match_proposals_order on registry.match_proposals (state, confidence desc, proposal_id);
comment on column registry.match_proposals.best is 'The best candidate: row and id of the identity, method, confidence, score, reason';

-- Pairs that somebody rejected: they are not proposed again.
create table registry.match_rejections (
    asset_id    bigint not null references registry.assets on delete cascade,
    identity_id text   not null,
    primary key (asset_id, identity_id)
);

-- Similarity of two texts that are folded to ASCII words, as pg_trgm defines it: shared trigrams over all trigrams. Where that extension
-- is there, a later migration puts it in the place of this function; the figures are the same.
create function registry.trigrams(text) returns text[] language sql immutable strict parallel safe as $$
    select coalesce(array_agg(distinct substr('  ' || word || ' ', place, 3)), '{}')
    from regexp_split_to_table(lower($1), '[^a-z0-9]+') word, generate_series(1, length(word) + 1) place
    where word <> ''
$$;

create function registry.trigram_similarity(text, text) returns real language sql immutable strict parallel safe as $$
    select case when cardinality(a) = 0 or cardinality(b) = 0 then 0::real
        else shared::real / (cardinality(a) + cardinality(b) - shared)::real end
    from (select registry.trigrams($1) as a, registry.trigrams($2) as b) both_sides,
        lateral (select count(*)::integer as shared from unnest(a) x where x = any (b)) common
$$;

-- An asset with its source and its mapping: what lists and counts are made of.
create view registry.asset_details as
    select a.*, c.kind as source_kind, c.name as source_name,
        coalesce(s.symbol, '') as common_symbol,
        coalesce(m.active, false) as mapping_active,
        m.asset_id is not null as mapped,
        case when a.state = 'LISTED' then greatest(a.last_seen_at, y.completed_at) else a.last_seen_at end as seen_at
    from registry.assets a
    join registry.code_registry c on c.code_id = a.code_id
    left join registry.asset_mapping m on m.asset_id = a.asset_id
    left join registry.common_symbols s on s.common_symbol_id = m.common_symbol_id
    left join registry.asset_syncs y on y.code_id = a.code_id;

-- Lists look a symbol up in any case, and go by name: those that have one, then the others.
create index assets_symbol on registry.assets (lower(symbol));
create index assets_name on registry.assets (name, code_id, symbol) where name <> '';
create index assets_nameless on registry.assets (code_id, symbol) where name = '';
-- Few rows are in these states, so that their indexes cost a merge nothing.
create index assets_vanished on registry.assets (code_id, symbol) where state = 'VANISHED';
create index assets_proposed on registry.assets (code_id, symbol) where identity_state = 'PROPOSED';
