-- Logs are not kept for ever. Additive: the release before this one keeps them all.

-- Null: what the server says.
alter table repos add column keep_log_days integer;
alter table repos add column keep_log_builds integer;
alter table repos add column keep_log_mib integer;

-- Bytes on the disk, once the logs are sealed.
alter table attempts add column log_bytes integer;
-- The tombstone: the row comes first, the files go afterwards.
alter table attempts add column logs_removed_ms integer;
alter table attempts add column logs_removed_why text;
create index attempts_with_logs on attempts (build_id) where phase = 'done' and logs_removed_ms is null;
