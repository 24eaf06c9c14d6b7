-- name: suggestion_plan
-- How many assets share an identifier is guessed too low where most have none: a nested loop would then compare all with all.
set local enable_nestloop = off;

-- name: suggestion_page
-- Pairs of an unmapped asset of a source ($2) and an asset of another one ($3; all others when null) that share something, with the parts
-- of their score. $4: text to be found on either side, as a pattern, or null; $5: classes or null; $6: least score; $7: only the best of
-- each asset and target source; $8 to $12: the place of the last row of the page before, or nulls.
-- The parts are computed once for each pair: what is not materialized is computed again wherever it is named.
with s as materialized (
    select a.asset_id, a.symbol, a.name, a.name_key, a.exchange, a.asset_class, a.base_currency, a.quote_currency, a.external_id, a.identity_id,
        a.root_symbol, a.full_symbol
    from assets a
    where a.code_id = $2 and a.state = 'LISTED' and ($5::text[] is null or a.asset_class = any ($5))
        and not exists (select from asset_mapping m where m.asset_id = a.asset_id)
),
t as materialized (
    select a.asset_id, a.symbol, a.name, a.name_key, a.exchange, a.asset_class, a.base_currency, a.quote_currency, a.external_id, a.identity_id,
        a.root_symbol, a.full_symbol, c.kind, c.name as source
    from assets a
    join code_registry c on c.code_id = a.code_id
    where a.code_id <> $2 and ($3::integer is null or a.code_id = $3) and a.state = 'LISTED' and ($5::text[] is null or a.asset_class = any ($5))
),
pairs as (
    select s.asset_id as source_id, t.asset_id as target_id from s join t on t.identity_id = s.identity_id where s.identity_id <> ''
    union
    select s.asset_id, t.asset_id from s join t on t.external_id = s.external_id where s.external_id <> ''
    union
    select s.asset_id, t.asset_id from s join t on t.root_symbol = s.root_symbol where s.root_symbol <> ''
    union
    select s.asset_id, t.asset_id from s join t on t.full_symbol = s.full_symbol where s.full_symbol <> s.root_symbol
),
points as materialized (
    select p.source_id, p.target_id, s.symbol as source_symbol, t.kind, t.source, t.symbol as target_symbol,
        case when s.identity_id <> '' and s.identity_id = t.identity_id then 70 else 0 end as identity_points,
        case when s.external_id <> '' and s.external_id = t.external_id then 50 else 0 end as external_id_points,
        case when s.root_symbol = t.root_symbol or s.full_symbol = t.full_symbol then 30 else 0 end as symbol_points,
        case when s.base_currency <> '' and s.quote_currency <> '' and s.base_currency = t.base_currency and s.quote_currency = t.quote_currency
            then 10 else 0 end as currency_points,
        case when s.exchange <> '' and s.exchange = t.exchange then 5 else 0 end as exchange_points,
        15::double precision * case when s.root_symbol = t.root_symbol then 1
            else registry.trigram_similarity(s.root_symbol, t.root_symbol) end as symbol_similarity_points,
        10::double precision * case when s.name_key = '' or t.name_key = '' then 0 when s.name_key = t.name_key then 1
            else registry.trigram_similarity(s.name_key, t.name_key) end as name_similarity_points
    from pairs p
    join s on s.asset_id = p.source_id
    join t on t.asset_id = p.target_id
    where s.asset_class = t.asset_class
        and ($4::text is null or s.symbol ilike $4 or s.name ilike $4 or t.symbol ilike $4 or t.name ilike $4)
),
scored as (
    select p.*, identity_points + external_id_points + symbol_points + currency_points + exchange_points + symbol_similarity_points
        + name_similarity_points as score
    from points p
),
ranked as (
    select r.*, case when $7::boolean then row_number() over (
        partition by r.source_id, r.kind, r.source order by r.score desc, r.target_symbol) else 1 end as place
    from scored r where r.score >= $6
)
select r.*, count(*) over () as total from ranked r
where r.place = 1
    and ($8::double precision is null or r.score < $8
        or (r.score = $8 and (r.source_symbol, r.kind, r.source, r.target_symbol) > ($9::text, $10::text, $11::text, $12::text)))
order by r.score desc, r.source_symbol, r.kind, r.source, r.target_symbol
limit $1;
