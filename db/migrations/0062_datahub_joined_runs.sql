-- Runs that were at work on what a later call or backfill asked for belong to that batch too.
alter table datahub.collection_runs add column joined_batches uuid[] not null default '{}';
comment on column datahub.collection_runs.joined_batches is 'Batches, beside its own, of which it fetches a part';
create index collection_runs_joined on datahub.collection_runs using gin (joined_batches) where joined_batches <> '{}';
