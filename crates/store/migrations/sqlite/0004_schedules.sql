-- What the newest spec of a branch says beyond its builds. Additive.

create table specs (
    repo_id integer not null references repos (id),
    branch text not null,
    -- The build that read it; an older build does not change it back.
    build_id integer not null references builds (id),
    -- A list of spec::params::Param as JSON, for the form.
    params text not null,
    primary key (repo_id, branch)
) strict, without rowid;

create table schedules (
    id integer primary key,
    repo_id integer not null references repos (id),
    branch text not null,
    name text not null,
    cron text not null,
    timezone text not null,
    next_ms integer not null,
    -- Why the last time made no build; empty if it did.
    problem text not null default '',
    unique (repo_id, branch, name)
) strict;

create index schedules_next on schedules (next_ms);
