-- name: ledger_around
-- The rows that touch a range, and the nearest one on each side.
select start_time, end_time, state, slots, source_series_id from coverage
where series_id = $1 and start_time < $3 and end_time > $2
union
(select start_time, end_time, state, slots, source_series_id from coverage
 where series_id = $1 and start_time < $2 order by start_time desc limit 1)
union
(select start_time, end_time, state, slots, source_series_id from coverage
 where series_id = $1 and start_time >= $3 order by start_time limit 1)
order by start_time;

-- name: ledger_missing
-- What is missing of a series in a range: the slots of rows inside it, counted, and the rows that it cuts.
select coalesce(sum(slots) filter (where not cut), 0)::bigint as inside,
       coalesce(array_agg(start_time) filter (where cut), '{}') as starts, coalesce(array_agg(end_time) filter (where cut), '{}') as ends
from (
    select start_time, end_time, slots, start_time < $2 or end_time > $3 as cut
    from coverage where series_id = $1 and state in (5, 7) and start_time < $3 and end_time > $2
) missing;

-- name: ledger_remove
delete from coverage where series_id = $1 and start_time = any($2::timestamptz[]);

-- name: ledger_put
insert into coverage as c (series_id, start_time, end_time, state, slots, source_series_id, updated_at)
select $1, r.start_time, r.end_time, r.state, r.slots, r.source, $7
from unnest($2::timestamptz[], $3::timestamptz[], $4::smallint[], $5::integer[], $6::integer[]) r(start_time, end_time, state, slots, source)
on conflict (series_id, start_time) do update
set end_time = excluded.end_time, state = excluded.state, slots = excluded.slots, source_series_id = excluded.source_series_id,
    updated_at = excluded.updated_at;

-- name: off_session_slots
select start_time, slots from off_session_slots where series_id = $1 and start_time > $2 and start_time < $3;

-- name: off_session_of_series
select series_id, start_time, slots from off_session_slots where series_id = any($1::integer[]);

-- name: off_session_put
insert into off_session_slots (series_id, start_time, slots)
select $1, r.start_time, r.slots from unnest($2::timestamptz[], $3::bytea[]) r(start_time, slots)
on conflict (series_id, start_time) do update set slots = excluded.slots;

-- name: gaps_in
select gap_id, start_time, end_time, missing_slots from gaps
where series_id = $1 and start_time < $3 and end_time > $2 and state <> 'REPAIRED'
order by start_time
for update;

-- name: gaps_found
insert into gaps (series_id, start_time, end_time, missing_slots, cause, run_id, next_attempt_at, detected_at, updated_at)
select $1, g.start_time, g.end_time, g.slots, $5, $6, $7, $8, $8
from unnest($2::timestamptz[], $3::timestamptz[], $4::bigint[]) g(start_time, end_time, slots);

-- name: gaps_moved
-- Write ranges and sizes. $6: nobody was asked for what is missing now; a gap that has grown by it is asked for as a new one.
update gaps g
set start_time = m.start_time, start_ns = 0, end_time = m.end_time, end_ns = 0, missing_slots = m.slots, updated_at = $5,
    attempts = case when m.anew then 0 else g.attempts end,
    next_attempt_at = case when m.anew then least(g.next_attempt_at, $7) else g.next_attempt_at end,
    state = case when m.anew and g.state = 'UNREPAIRABLE' then 'OPEN' else g.state end
from (
    select x.gap_id, x.start_time, x.end_time, x.slots, $6 and x.slots > k.missing_slots as anew
    from unnest($1::bigint[], $2::timestamptz[], $3::timestamptz[], $4::bigint[]) x(gap_id, start_time, end_time, slots)
    join gaps k on k.gap_id = x.gap_id
) m
where g.gap_id = m.gap_id;

-- name: gaps_repaired
update gaps set state = 'REPAIRED', repaired_from = $2, run_id = coalesce($3, run_id), next_attempt_at = null, updated_at = $4
where gap_id = any($1::bigint[]);
