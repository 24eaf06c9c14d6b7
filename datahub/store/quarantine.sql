-- name: quarantine_add
-- Hold rows back; one that is held already for the same reason is not held twice.
insert into quarantine (series_id, provider, symbol, interval, row_time, reason, detail, payload, run_id, operation_id, quarantined_at)
select $1, $2, $3, $4, r.row_time, r.reason, r.detail, r.payload, $9, $10, $11
from unnest($5::timestamptz[], $6::text[], $7::text[], $8::jsonb[]) r(row_time, reason, detail, payload)
where not exists (
    select from quarantine q
    where q.provider = $2 and q.symbol = $3 and q.interval = $4 and q.state = 'HELD' and q.row_time is not distinct from r.row_time
      and q.reason = r.reason and q.payload = r.payload
)
returning row_id;
