-- What runs bring is checked beside the look through the whole history, which must not wait for ever behind it.

alter table datahub.quality_checks add column sweep_at timestamptz not null default now();
alter table datahub.quality_checks alter column sweep_at drop default;
comment on column datahub.quality_checks.due_at is 'When the series is looked at next: because of what runs brought, or at sweep_at';
comment on column datahub.quality_checks.sweep_at is 'When the look through the history begins or goes on';
