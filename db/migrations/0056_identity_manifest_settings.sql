-- How a manifest was read: the same bytes under other columns or another default class are another version of it.
alter table registry.identity_manifests add column settings jsonb;
comment on column registry.identity_manifests.settings is 'What, beside the bytes, decided what the version says: default_class, and columns by field. Null: not known, for versions of before.';
