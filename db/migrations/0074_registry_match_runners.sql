-- A match that was taken keeps the candidate that it was preferred to, so that whoever doubts it sees what else the asset may stand for.
create table registry.match_runners (
    asset_id    bigint not null primary key references registry.assets on delete cascade,
    identity_id text   not null,
    runner_up   jsonb  not null
);
comment on table registry.match_runners is 'The second best candidate of each match that was taken';
comment on column registry.match_runners.identity_id is 'The identity that was taken; the row says nothing once the asset has another';
comment on column registry.match_runners.runner_up is 'Row and id of the identity, method, confidence, score, reason';
