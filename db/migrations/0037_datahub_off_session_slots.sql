-- Bars outside the hours of their market: no calendar expects them, so the ledger remembers where they were. Once stored they are
-- expected like the others, and noticed when they are gone.

create table datahub.off_session_slots (
    series_id  integer     not null references datahub.series,
    start_time timestamptz not null,
    slots      bytea       not null,
    primary key (series_id, start_time)
) with (fillfactor = 80);
comment on table datahub.off_session_slots is 'Slots outside the calendar in which a bar was stored, in rows of 1024 slots';
comment on column datahub.off_session_slots.start_time is 'Open time of the first of the slots; the others follow it at the length of the interval, at a day for months';
comment on column datahub.off_session_slots.slots is 'One bit a slot, the lowest bit of the first byte first; zeros at the end are left out';
