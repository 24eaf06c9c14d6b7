-- name: series_providers
-- Providers with subscriptions, or that of one subscription ($1), in the order of a list.
select c.code_id from registry.code_registry c
where exists (
    select from registry.provider_subscription s where s.code_id = c.code_id and ($1::uuid is null or s.subscription_id = $1)
) and {filter}
order by {order};

-- name: series_page
-- Those of one symbol, found by an index, in any order; $2: of one subscription, or null.
select {key} as order_key, s.* from registry.series_of($2) s
where {filter} and {after}
order by {order}
limit $1;

-- name: series_walk
-- A page of one provider along its symbols. Looked at are $2 rows of what is selected, in order; the series that they are of are made whole, each
-- once, and the last one is the edge: what comes after it is left to the next page.
with looked as materialized (
    select s.name, s.interval from registry.selections s where {segment} and {after} order by s.name, s.interval limit $2
),
edge as materialized (
    select name, interval from looked order by name desc, interval desc limit 1
)
select s.*, {key} as order_key from registry.series_of($3) s
where {segment} and {after} and s.name = any (array(select name from looked))
    and (s.name, s.interval) <= ((select name from edge), (select interval from edge)) and {filter}
order by {order}
limit $1;

-- name: series_edge
select {key} as order_key from registry.selections s where {segment} and {after} order by {order} offset $1::bigint - 1 limit 1;

-- name: series_passed
select count(*) from (select from registry.selections s where {segment} and {after} limit $1) passed;
