-- Limits on losses that hold for each strategy by itself are reached by one of them.

alter table strategy.loss_breaches
    add column instance_id text not null default '',
    drop constraint loss_breaches_pkey,
    add primary key (policy_id, account_id, instance_id, reason);
comment on column strategy.loss_breaches.instance_id is 'The strategy that reached a limit of each; empty: the account did';
