-- What a job leaves behind. Additive: the release before this one does not know of it.

create table artifacts (
    id integer primary key,
    build_id integer not null references builds (id),
    attempt_id integer not null references attempts (id),
    name text not null,
    files integer not null,
    bytes integer not null,
    created_ms integer not null,
    -- Null: kept as long as the build.
    expires_ms integer,
    -- When the files were removed; the row stays, so that people see that there was something.
    removed_ms integer,
    unique (attempt_id, name)
) strict;

create index artifacts_build on artifacts (build_id);
create index artifacts_expiring on artifacts (expires_ms)
    where expires_ms is not null and removed_ms is null;

create table reports (
    id integer primary key,
    attempt_id integer not null references attempts (id),
    build_id integer not null references builds (id),
    -- A model::ReportKind.
    kind text not null,
    tests integer not null,
    failed integer not null,
    skipped integer not null,
    flaky integer not null,
    duration_ms integer not null,
    lines_covered integer,
    lines_total integer,
    -- What was wrong with the files, a line each.
    problems text not null,
    unique (attempt_id, kind)
) strict;

create table tests (
    attempt_id integer not null references attempts (id),
    -- Failed ones first.
    position integer not null,
    result text not null check (result in ('failed', 'skipped', 'flaky', 'passed')),
    suite text not null,
    name text not null,
    duration_ms integer,
    message text,
    output text,
    file text,
    line integer,
    -- The place in the log that speaks of it: step and row, from 0.
    step integer,
    log_row integer,
    primary key (attempt_id, position)
) strict, without rowid;
