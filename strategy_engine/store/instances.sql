-- name: instances_of_account
select instance_id, capital, run_id from strategy.instances where account_id = $1 and deleted_at is null order by instance_id;
