-- name: match_assets
-- What the matcher looks at: assets of a class that has identities. {filter} is written by the service; $2: all sources when null.
select d.asset_id, d.code_id, d.matcher_symbol, d.match_key, d.exchange, d.name_key, d.quote_currency, d.country, d.identity_group,
    d.identity_id, d.identity_origin, d.match_confidence, 'identity_id' = any (d.manual_fields) as held_by_hand
from asset_details d
where d.identity_group <> '' and ($1::integer[] is null or d.code_id = any ($1)) and {filter};

-- name: match_provider_ids
-- Identifiers that sources gave before the manifest that has them was imported: the asset gets the manifest's identity.
with given as (
    select a.asset_id, (
        select i.identity_id from identities i
        where a.source_identity in (i.figi, i.composite_figi, i.share_class_figi, i.isin) and i.identity_group = a.identity_group
            and (i.figi = a.source_identity or i.exchange = a.exchange or a.exchange = '')
            and not i.withdrawn and i.valid_from <= $2 and $2 < i.valid_to
        group by i.identity_id
        order by bool_or(i.figi = a.source_identity) desc, bool_or(i.exchange = a.exchange) desc, i.identity_id
        limit 1
    ) as identity_id
    from assets a
    where a.asset_id = any ($1::bigint[]) and a.source_identity <> '' and a.identity_origin <> 'MANUAL'
        and not 'identity_id' = any (a.manual_fields)
),
settled as (
    update match_proposals p
    set state = 'SUPERSEDED', decided_at = $3, revision = p.revision + 1
    from given g
    where p.asset_id = g.asset_id and p.state = 'OPEN' and g.identity_id is not null
)
update assets a
set identity_id = g.identity_id, identity_origin = 'PROVIDER', match_method = 'PROVIDER_ID', match_confidence = null, match_reason = '',
    matched_at = $3, identity_state = 'IDENTIFIED', updated_at = $3, revision = revision + 1
from given g
where a.asset_id = g.asset_id and g.identity_id is not null and (a.identity_id <> g.identity_id or a.identity_origin <> 'PROVIDER')
returning a.asset_id;

-- name: match_provider_ids_preview
-- What the statement above would give.
select a.asset_id, a.source_identity, g.identity_row, g.identity_id
from assets a, lateral (
    select min(i.identity_row) as identity_row, i.identity_id from identities i
    where a.source_identity in (i.figi, i.composite_figi, i.share_class_figi, i.isin) and i.identity_group = a.identity_group
        and (i.figi = a.source_identity or i.exchange = a.exchange or a.exchange = '')
        and not i.withdrawn and i.valid_from <= $2 and $2 < i.valid_to
    group by i.identity_id
    order by bool_or(i.figi = a.source_identity) desc, bool_or(i.exchange = a.exchange) desc, i.identity_id
    limit 1
) g
where a.asset_id = any ($1::bigint[]) and a.source_identity <> '' and a.identity_origin <> 'MANUAL'
    and not 'identity_id' = any (a.manual_fields) and (a.identity_id <> g.identity_id or a.identity_origin <> 'PROVIDER');

-- name: match_exact
-- Identities in use at $2 whose symbol or alias equals the key of an asset, within its group.
with names as (
    select i.identity_row, i.identity_id, i.identity_group, i.match_key as key, false as alias, i.exchange, i.name_key, i.currency, i.country
    from identities i where not i.withdrawn and i.valid_from <= $2 and $2 < i.valid_to
    union all
    select i.identity_row, i.identity_id, i.identity_group, unnest(i.aliases), true, i.exchange, i.name_key, i.currency, i.country
    from identities i where i.aliases <> '{}' and not i.withdrawn and i.valid_from <= $2 and $2 < i.valid_to
)
select a.asset_id, n.identity_row, n.identity_id, n.alias, n.exchange, n.name_key, n.currency, n.country
from assets a
join names n on n.key = a.match_key and n.identity_group = a.identity_group
where a.asset_id = any ($1::bigint[]);

-- name: match_symbols
-- Every symbol and alias of the identities of a group in use at $2.
select i.identity_row, i.match_key as symbol, i.exchange
from identities i where i.identity_group = $1 and not i.withdrawn and i.valid_from <= $2 and $2 < i.valid_to
union all
select i.identity_row, unnest(i.aliases), i.exchange
from identities i where i.identity_group = $1 and i.aliases <> '{}' and not i.withdrawn and i.valid_from <= $2 and $2 < i.valid_to;

-- name: match_targets
select i.identity_row, i.identity_id, i.exchange, i.name_key, i.currency, i.country
from identities i where i.identity_row = any ($1::bigint[]);

-- name: match_rejected_pairs
select asset_id, identity_id from match_rejections where asset_id = any ($1::bigint[]);

-- name: match_holders
-- Who has one of these identities already, in each source.
select code_id, identity_id, asset_id, matcher_symbol from assets
where identity_id = any ($1::text[]) and identity_group = 'securities' and not asset_id = any ($2::bigint[]);

-- name: match_stage
-- Candidates are JSON as text: binary COPY knows no JSON of the platform's codecs.
create temp table match_results (
    asset_id bigint primary key, outcome text not null, cause text not null, identity_id text not null, method text not null,
    confidence double precision, reason text not null, best text, runner_up text, further integer not null
) on commit drop;

-- name: match_analyze_staged
analyze match_results;

-- name: match_take
update assets a
set identity_id = r.identity_id, identity_origin = 'MATCHER', match_method = r.method, match_confidence = r.confidence,
    match_reason = r.reason, matched_at = $1, identity_state = 'IDENTIFIED', updated_at = $1, revision = a.revision + 1
from match_results r
where a.asset_id = r.asset_id and r.outcome = 'TAKEN' and a.identity_origin in ('', 'MATCHER')
    and not 'identity_id' = any (a.manual_fields) and a.identity_id <> r.identity_id
    and not exists ( -- somebody gave it to another asset of the source meanwhile
        select from assets o
        where o.identity_id <> '' and o.identity_id = r.identity_id and o.code_id = a.code_id and o.asset_id <> a.asset_id
            and a.identity_group = 'securities'
            and not exists (select from match_results q where q.asset_id = o.asset_id and q.outcome = 'TAKEN')
    );

-- name: match_keep_runners
-- What the identities that were taken were preferred to.
insert into match_runners (asset_id, identity_id, runner_up)
select r.asset_id, r.identity_id, r.runner_up::jsonb from match_results r where r.outcome = 'TAKEN' and r.runner_up is not null
on conflict (asset_id) do update set identity_id = excluded.identity_id, runner_up = excluded.runner_up;

-- name: match_forget_runners
delete from match_runners m using match_results r where m.asset_id = r.asset_id and r.outcome = 'TAKEN' and r.runner_up is null;

-- name: match_runner
select m.runner_up from match_runners m join assets a on a.asset_id = m.asset_id
where m.asset_id = $1 and a.identity_id = m.identity_id and a.identity_origin = 'MATCHER';

-- name: match_supersede
-- Open proposals that the run found otherwise.
update match_proposals p
set state = 'SUPERSEDED', decided_at = $1, revision = p.revision + 1
from match_results r
where p.state = 'OPEN' and r.asset_id = p.asset_id
    and (r.outcome <> 'PROPOSED' or r.identity_id <> p.identity_id or r.cause <> p.cause);

-- name: match_propose
insert into match_proposals (asset_id, state, cause, identity_id, method, confidence, best, runner_up, further_candidates, operation_id, created_at)
select r.asset_id, $1, r.cause, r.identity_id, r.method, r.confidence, r.best::jsonb, r.runner_up::jsonb, r.further, $2, $3
from match_results r
join assets a on a.asset_id = r.asset_id
where r.outcome = 'PROPOSED'
    and ($1 = 'PREVIEW' or not exists (select from match_proposals p where p.asset_id = r.asset_id and p.state = 'OPEN'));

-- name: match_mark_states
update assets a
set identity_state = case when r.outcome = 'PROPOSED' then 'PROPOSED' else 'UNIDENTIFIED' end, updated_at = $1, revision = a.revision + 1
from match_results r
where a.asset_id = r.asset_id and a.identity_id = '' and r.outcome <> 'TAKEN'
    and a.identity_state <> case when r.outcome = 'PROPOSED' then 'PROPOSED' else 'UNIDENTIFIED' end;

-- name: match_forget_previews
delete from match_proposals where state = 'PREVIEW' and created_at < $1;

-- name: proposal_page
select {key} as order_key, p.*
from match_proposals p
join asset_details d on d.asset_id = p.asset_id
where (p.state <> 'PREVIEW' or p.created_at >= $2) and {filter} and {after}
order by {order} limit $1;

-- name: proposal_walk
-- A page along the confidences; no more than $2 proposals are looked at.
with page as (
    select w.proposal_id, w.order_key
    from (
        select p.proposal_id, {key} as order_key, (p.state <> 'PREVIEW' or p.created_at >= $3) and {filter} as passes
        from match_proposals p join asset_details d on d.asset_id = p.asset_id
        where {segment} and {after} order by {order} limit $2
    ) w
    where w.passes limit $1
)
select page.order_key, p.*
from page join match_proposals p on p.proposal_id = page.proposal_id join asset_details d on d.asset_id = p.asset_id
order by {order};

-- name: proposal_edge
select {key} as order_key from match_proposals p join asset_details d on d.asset_id = p.asset_id
where {segment} and {after} order by {order} offset $1::bigint - 1 limit 1;

-- name: proposal_passed
select count(*) from (
    select from match_proposals p join asset_details d on d.asset_id = p.asset_id where {segment} and {after} limit $1
) passed;

-- name: proposal_crowd
select count(*) from (select from match_proposals limit $1) found;

-- name: proposal_sources
-- The sources of what proposals are about, in the order in which they are locked.
select distinct a.code_id from match_proposals p join assets a on a.asset_id = p.asset_id
where p.proposal_id = any ($1::uuid[]) order by a.code_id;

-- name: proposal_lock
select p.* from match_proposals p where p.proposal_id = $1 for update;

-- name: proposal_of_asset
select p.* from match_proposals p where p.asset_id = $1 and p.state = 'OPEN';

-- name: proposal_decide
update match_proposals set state = $2, decided_at = $3, decided_by = $4, decision_reason = $5, revision = revision + 1
where proposal_id = $1;

-- name: proposal_supersede
update match_proposals set state = 'SUPERSEDED', decided_at = $2, revision = revision + 1
where asset_id = any ($1::bigint[]) and state = 'OPEN';

-- name: proposal_reject_pair
insert into match_rejections (asset_id, identity_id) select $1, unnest($2::text[]) on conflict do nothing;

-- name: proposal_forget_rejection
delete from match_rejections where asset_id = $1 and identity_id = $2;

-- name: proposal_unpropose
-- An open proposal other than $3 is still to be decided.
update assets set identity_state = 'UNIDENTIFIED', updated_at = $2, revision = revision + 1
where asset_id = $1 and identity_id = '' and identity_state = 'PROPOSED'
    and not exists (select from match_proposals p where p.asset_id = $1 and p.state = 'OPEN' and p.proposal_id <> $3);
