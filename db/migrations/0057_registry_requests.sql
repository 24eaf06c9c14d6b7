-- Requests can hold secrets, of which a plain hash lets a thief of the database try guesses. From now on what is stored is a keyed hash. The plain
-- ones go with the pages that held them; the answers beside them, at most seven days old, are forgotten: a request that is repeated across the
-- upgrade is a new one.
truncate registry.requests;
comment on column registry.requests.fingerprint is 'HMAC-SHA256 of the request under a key derived from the system context; the same id with another request is refused';
