-- requires: pg_trgm
-- Similarity of names and symbols in the database: searches and suggestions use it where it is there, and compute the same scores without it.

create extension if not exists pg_trgm with schema public;

create index identities_symbol_trigram on registry.identities using gin (symbol public.gin_trgm_ops);
create index identities_name_trigram on registry.identities using gin (name public.gin_trgm_ops);
create index common_symbols_trigram on registry.common_symbols using gin (symbol public.gin_trgm_ops);
