-- The config version that an attempt ran on: it may be a later one than that of its job's acceptance. Null for attempts
-- that came to no connector, and for those before this column.
alter table job_attempt add column config_version int;
