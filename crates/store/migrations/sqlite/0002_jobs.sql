-- A build has many jobs. Additive: the release before this one goes on with its one job per build.

create table jobs (
    id integer primary key,
    build_id integer not null references builds (id),
    -- Which planning of the build: 1 for the first, one more with each retry by a person.
    run integer not null,
    idx integer not null,
    name text not null,
    -- A model::JobPlan as JSON.
    plan text not null,
    -- A model::JobState.
    state text not null,
    -- One line: why it waits, or how it ended.
    reason text not null default '',
    tries integer not null default 0,
    -- The number of its newest attempt.
    attempt integer,
    -- The values that it handed on: a JSON map.
    outputs text not null default '{}',
    failed_step integer,
    -- What a person decided: 1, 0, or nobody has.
    approved integer,
    -- The group of jobs of which one runs at a time.
    concurrency text,
    cancel_requested integer not null default 0,
    started_ms integer,
    finished_ms integer,
    unique (build_id, run, idx)
) strict;

-- Whether anything waits, or is going on, is asked at every end of a job.
create index jobs_states on jobs (build_id, run, state);
create index jobs_group on jobs (concurrency) where concurrency is not null;

-- Null: it plans the build, or it is of the release before.
alter table attempts add column job_id integer references jobs (id);
alter table attempts add column run integer not null default 1;
-- The pause before a retry.
alter table attempts add column not_before_ms integer;

alter table builds add column run integer not null default 1;
-- The group of builds of which one runs at a time.
alter table builds add column concurrency text;
create index builds_running on builds (id) where state = 'running';
