-- name: sealed_secrets
-- Every envelope with what it is bound to; locked, so that nothing is sealed with the former system context in between.
select s.code_id, c.kind, c.name, s.version, s.sealed
from registry.code_secrets s join registry.code_registry c using (code_id)
order by s.code_id
for update of s;

-- name: forget_requests
-- What tells repeated requests from others is a keyed hash under the former system context: nothing can be compared with it any more.
delete from registry.requests;

-- name: replace_sealed
update registry.code_secrets set sealed = $2 where code_id = $1;
