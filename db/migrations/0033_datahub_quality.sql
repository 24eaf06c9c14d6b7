-- When the quality of each series is looked at next, what is to be looked at, and how far its history was looked through.

create table datahub.quality_checks (
    series_id    integer     not null primary key references datahub.series,
    due_at       timestamptz not null,
    since        timestamptz,
    until        timestamptz,
    swept_until  timestamptz,
    swept_at     timestamptz,
    checked_from timestamptz,
    checked_at   timestamptz,
    check ((since is null) = (until is null)),
    check (since < until)
);
create index quality_checks_due on datahub.quality_checks (due_at);
comment on table datahub.quality_checks is 'Series whose bars are checked: after runs, and over and over from their first bar to their last';
comment on column datahub.quality_checks.since is 'Begin of what runs brought since it was checked; null: nothing';
comment on column datahub.quality_checks.swept_until is 'How far the present look through the whole history has come; null: it begins anew';
comment on column datahub.quality_checks.swept_at is 'When a look through the whole history ended last';
comment on column datahub.quality_checks.checked_from is 'Begin of the last check that reached the newest bar';

create index quality_findings_start on datahub.quality_findings (start_time desc, finding_id desc);
