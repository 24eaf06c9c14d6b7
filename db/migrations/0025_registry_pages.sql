-- What keeps every page of a list cheap among a million assets, and a merge of symbols fast beside it.

-- Lists go along these. Symbols of a batch come sorted, so that an index by symbol costs a merge little.
create index assets_by_symbol on registry.assets (symbol, code_id);
create index assets_by_update on registry.assets (updated_at, code_id, symbol);
create index match_proposals_confidence on registry.match_proposals (confidence desc);

-- One check of a statement's sources stands for a check of every row, which was a quarter of a merge. Entries of the code registry are never
-- deleted, only marked; the second trigger keeps it so while they have assets.
alter table registry.assets drop constraint assets_code_id_fkey;

create function registry.assets_have_sources() returns trigger language plpgsql set search_path = registry, pg_temp as $$
declare
    strange integer;
begin
    select a.code_id into strange
    from (select distinct code_id from added) a left join registry.code_registry c on c.code_id = a.code_id
    where c.code_id is null limit 1;
    if found then
        raise foreign_key_violation using message = format('assets must belong to an entry of the code registry, was %s', strange);
    end if;
    perform from registry.code_registry c where c.code_id in (select code_id from added) for key share;
    return null;
end
$$;
create trigger assets_have_sources after insert on registry.assets
    referencing new table as added for each statement execute function registry.assets_have_sources();

create function registry.sources_keep_assets() returns trigger language plpgsql set search_path = registry, pg_temp as $$
begin
    if exists (select from registry.assets a where a.code_id = old.code_id) then
        raise foreign_key_violation using message = format('entry %s of the code registry has assets and must stay', old.code_id);
    end if;
    return old;
end
$$;
create trigger sources_keep_assets before delete on registry.code_registry
    for each row execute function registry.sources_keep_assets();

-- What a filter names, found by indexes.
create function registry.assets_of_symbol(wanted text) returns bigint[] language sql stable as $$
    select array(
        select m.asset_id from registry.asset_mapping m join registry.common_symbols s on s.common_symbol_id = m.common_symbol_id
        where lower(s.symbol) = lower(wanted)
    )
$$;
comment on function registry.assets_of_symbol is 'The assets that are mapped to a common symbol';

create function registry.symbols_of_index(wanted text) returns integer[] language sql stable as $$
    select array(
        select coalesce(m.common_symbol_id, x.common_symbol_id)
        from registry.indices i
        join registry.index_memberships m on m.index_id = i.index_id and m.valid_to = 'infinity'
        left join registry.asset_mapping x on x.asset_id = m.asset_id
        where i.name = wanted and coalesce(m.common_symbol_id, x.common_symbol_id) is not null
    )
$$;
comment on function registry.symbols_of_index is 'The common symbols that an index holds now, by its name';

create function registry.identities_of_symbol(wanted text) returns bigint[] language sql stable as $$
    select array(
        select i.identity_row from registry.identities i
        where upper(i.symbol) = wanted and i.identity_group in ('', 'securities', 'crypto', 'currency', 'derivatives')
        union
        select i.identity_row from registry.identities i where i.aliases @> array[wanted] and i.aliases <> '{}'
    )
$$;
comment on function registry.identities_of_symbol is 'The identities that have a symbol, or an alias, in upper case';
