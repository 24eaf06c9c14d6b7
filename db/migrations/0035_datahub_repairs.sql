-- A run may repair several gaps of its series that lie near each other, with one request instead of many.

alter table datahub.collection_runs
    add column gap_ids bigint[] not null default '{}',
    add column own_provider_only boolean not null default false;
update datahub.collection_runs set gap_ids = array[gap_id] where gap_id is not null;
comment on column datahub.collection_runs.gap_id is 'The first of the gaps that it repairs';
comment on column datahub.collection_runs.gap_ids is 'The gaps that it repairs, by begin';
comment on column datahub.collection_runs.own_provider_only is 'Whether a repair must not borrow from other providers';
