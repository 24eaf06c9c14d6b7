-- An order by update cost each new symbol more than it was asked for. Few assets have fields that were set by hand: a merge looks whether its
-- source has any before it compares them.
drop index registry.assets_by_update;
create index assets_by_hand on registry.assets (code_id) where manual_fields <> '{}';
