-- name: upload_insert
insert into uploads (upload_id, file_name, size_bytes, sha256, request_id, created_at, touched_at)
values ($1, $2, $3, $4, $5, $6, $6)
on conflict do nothing;

-- name: upload_of_request
select * from uploads where request_id = $1;

-- name: uploads_expired
select upload_id from uploads where touched_at < $1 order by touched_at;

-- name: upload_parts_delete
-- Remove some parts of an upload: all those of a large one would take longer than a statement may.
delete from upload_parts
where upload_id = $1 and part_start in (select p.part_start from upload_parts p where p.upload_id = $1 order by p.part_start desc limit 64)
returning part_start;

-- name: upload_count
select count(*) from uploads;

-- name: upload_find
select * from uploads where upload_id = $1 and touched_at >= $2;

-- name: upload_lock
select * from uploads where upload_id = $1 and touched_at >= $2 for update;

-- name: upload_add_part
insert into upload_parts (upload_id, part_start, content) values ($1, $2, $3);

-- name: upload_received
update uploads set received_bytes = $2, touched_at = $3 where upload_id = $1 returning *;

-- name: upload_parts_in
-- The parts of an upload that overlap a range of bytes.
select part_start, content from upload_parts
where upload_id = $1 and part_start < $3 and part_start + octet_length(content) > $2
order by part_start;

-- name: upload_part_at
select content from upload_parts where upload_id = $1 and part_start = $2;

-- name: upload_delete
delete from uploads where upload_id = $1;

-- name: rows_of_series
-- How many rows some series have, as far as that is counted.
select coalesce(sum(rows), 0) from series_progress where series_id = any($1::integer[]);
