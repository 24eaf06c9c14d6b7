-- Pages of long lists: selected series in the order of their provider, along an index, and members of an index by what their rows say.

alter table registry.subscription_symbols add column code_id integer;
alter table registry.subscription_unresolved add column code_id integer;
update registry.subscription_symbols t set code_id = s.code_id from registry.provider_subscription s where s.subscription_id = t.subscription_id;
update registry.subscription_unresolved t set code_id = s.code_id from registry.provider_subscription s where s.subscription_id = t.subscription_id;
alter table registry.subscription_symbols alter column code_id set not null;
alter table registry.subscription_unresolved alter column code_id set not null;
comment on column registry.subscription_symbols.code_id is 'The provider of the subscription, which never changes; whoever does not give it gets it from there';

create function registry.provider_of_selection() returns trigger language plpgsql set search_path = registry, pg_temp as $$
begin
    select s.code_id into new.code_id from registry.provider_subscription s where s.subscription_id = new.subscription_id;
    return new;
end
$$;
create trigger provider_of_selection before insert on registry.subscription_symbols
    for each row when (new.code_id is null) execute function registry.provider_of_selection();
create trigger provider_of_selection before insert on registry.subscription_unresolved
    for each row when (new.code_id is null) execute function registry.provider_of_selection();

create index subscription_symbols_order on registry.subscription_symbols (code_id, symbol);
create index subscription_unresolved_order on registry.subscription_unresolved (code_id, name);

create view registry.selections as
    select x.code_id, x.place, x.name, s.interval, x.subscription_id, s.provider, s.state, s.historical, s.live, s.store_ticks, s.tick_kinds,
        s.cron, s.time_zone, s.backfill_start, x.asset_id, x.cause
    from (
        select code_id, 1 as place, symbol as name, subscription_id, asset_id, null::text as cause from registry.subscription_symbols
        union all
        select code_id, 0, name, subscription_id, null::bigint, cause from registry.subscription_unresolved
    ) x
    join registry.provider_subscription s on s.subscription_id = x.subscription_id;
comment on view registry.selections is 'What each subscription selects (place 1), and what of its selection cannot be collected (place 0)';

create function registry.series_of(wanted uuid)
returns table (
    code_id integer, provider text, place integer, name text, "interval" text, symbol text, active boolean, subscription_ids uuid[],
    historical boolean, live boolean, store_ticks boolean, tick_kinds text[], crons text[], backfill_start timestamptz, subscription_id uuid,
    exchange text, asset_class text, common_symbol text, unresolved text
) language sql stable as $$
    select x.code_id, x.provider, x.place, x.name, x.interval, x.symbol, x.active, x.subscription_ids, x.historical, x.live, x.store_ticks,
        x.tick_kinds, x.crons, x.backfill_start, wanted, coalesce(a.exchange, '') as exchange, coalesce(a.asset_class, '') as asset_class,
        coalesce(cs.symbol, '') as common_symbol,
        coalesce(x.cause, case when a.state = 'VANISHED' then 'VANISHED' end, '') as unresolved
    from (
        select code_id, min(provider) as provider, place, name, interval,
            case when place = 0 then '' else name end as symbol,
            bool_or(state = 'ACTIVE') as active,
            coalesce(array_agg(subscription_id order by subscription_id) filter (where state = 'ACTIVE'),
                array_agg(subscription_id order by subscription_id)) as subscription_ids,
            coalesce(bool_or(historical) filter (where state = 'ACTIVE'), bool_or(historical)) as historical,
            coalesce(bool_or(live) filter (where state = 'ACTIVE'), bool_or(live)) as live,
            coalesce(bool_or(store_ticks) filter (where state = 'ACTIVE'), bool_or(store_ticks)) as store_ticks,
            string_to_array(string_agg(
                case when interval <> '' or tick_kinds = '{}' then 'TRADE,' else '' end || array_to_string(tick_kinds, ','), ','
            ) filter (where live and counts), ',') as tick_kinds,
            coalesce(
                array_agg(distinct array[cron, time_zone]) filter (where state = 'ACTIVE' and historical),
                array_agg(distinct array[cron, time_zone]) filter (where historical and not exists_active)
            ) as crons,
            case when bool_or(backfill_start is null) filter (where counts) then null
                else min(backfill_start) filter (where counts) end as backfill_start,
            min(asset_id) as asset_id, min(cause) as cause
        from (
            select s.*, bool_or(state = 'ACTIVE') over same as exists_active,
                state = 'ACTIVE' or not bool_or(state = 'ACTIVE') over same as counts
            from registry.selections s
            where wanted is null or s.subscription_id = wanted
            window same as (partition by code_id, place, name, interval)
        ) r
        group by code_id, place, name, interval
    ) x
    left join registry.assets a on a.asset_id = x.asset_id
    left join registry.asset_mapping m on m.asset_id = a.asset_id and m.active
    left join registry.common_symbols cs on cs.common_symbol_id = m.common_symbol_id
$$;
comment on function registry.series_of is 'Series that subscriptions select, or one of them does: each once, with what its active subscriptions want of it (of paused ones where all are paused)';

-- Members without what their common symbols stand for, which costs a look-up each: enough for the usual orders and for counts.
create view registry.index_member_symbols as
    select m.membership_id, m.index_id, m.common_symbol_id, m.asset_id, m.weight, m.valid_from, m.valid_to,
        coalesce(s.symbol, '') as common_symbol,
        coalesce(a.symbol, '') as symbol
    from registry.index_memberships m
    left join registry.assets a on a.asset_id = m.asset_id
    left join registry.asset_mapping x on x.asset_id = m.asset_id
    left join registry.common_symbols s on s.common_symbol_id = coalesce(m.common_symbol_id, x.common_symbol_id);
