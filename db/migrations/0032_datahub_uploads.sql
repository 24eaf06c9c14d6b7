-- Files on their way in: announced, filled in parts, read by an import, and gone a day after their last change.

create table datahub.uploads (
    upload_id      uuid        not null primary key,
    file_name      text        not null,
    size_bytes     bigint      not null check (size_bytes > 0),
    received_bytes bigint      not null default 0 check (received_bytes between 0 and size_bytes),
    sha256         text        not null default '',
    request_id     text,
    created_at     timestamptz not null,
    touched_at     timestamptz not null
);
create unique index uploads_request on datahub.uploads (request_id) where request_id is not null;
create index uploads_age on datahub.uploads (touched_at);
comment on column datahub.uploads.touched_at is 'When its last part came; it expires a day later';

create table datahub.upload_parts (
    upload_id  uuid   not null references datahub.uploads on delete cascade,
    part_start bigint not null check (part_start >= 0),
    content    bytea  not null,
    primary key (upload_id, part_start)
);
alter table datahub.upload_parts alter column content set storage external;
comment on table datahub.upload_parts is 'The bytes of uploads; the parts of one follow each other without a hole and do not overlap';
