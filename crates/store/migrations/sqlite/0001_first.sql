-- Times ending in _ms are milliseconds since 1970-01-01 UTC, those in _us microseconds.

create table settings (
    key text primary key,
    value text not null
) strict;

create table repos (
    id integer primary key,
    name text not null unique collate nocase,
    url text not null,
    forge text not null check (forge in ('git', 'github')),
    -- On the forge: "owner/name". Null for plain git.
    forge_name text,
    -- Sealed with the key file; see seal.rs.
    webhook_secret blob,
    status_token blob,
    build_forks integer not null default 0,
    last_build integer not null default 0,
    created_ms integer not null,
    -- Removed repositories keep their rows, so that links and logs stay readable.
    removed_ms integer
) strict;

create table secrets (
    repo_id integer not null references repos (id),
    name text not null,
    value blob not null,
    created_ms integer not null,
    primary key (repo_id, name)
) strict;

create table deliveries (
    id integer primary key,
    forge text not null,
    -- The forge's own id of the delivery; the same one when it is sent again.
    key text not null,
    event text not null,
    -- Null until it is known (or for ever, when the signature was bad).
    repo_id integer references repos (id),
    received_ms integer not null,
    content_type text,
    remote text not null,
    signature text,
    body blob,
    body_bytes integer not null,
    state text not null check (state in ('received', 'done', 'failed', 'rejected')),
    verdict text not null default '',
    build_id integer,
    -- How often it came in, and how often it was read.
    receipts integer not null default 1,
    readings integer not null default 0,
    processed_ms integer
) strict;

-- A rejected delivery must not keep a real one with the same id out.
create unique index deliveries_key on deliveries (forge, key) where state <> 'rejected';
create index deliveries_open on deliveries (id) where state = 'received';

create table builds (
    id integer primary key,
    repo_id integer not null references repos (id),
    number integer not null,
    state text not null,
    -- A model::Trigger as JSON.
    trigger text not null,
    event text not null,
    revision text not null,
    git_ref text not null,
    -- What must not be built twice: "branch:main:<revision>". Null: always a new build.
    dedupe text,
    delivery_id integer references deliveries (id),
    -- The number of the newest attempt.
    attempt integer not null,
    cancel_requested integer not null default 0,
    -- One line about the end, for lists and statuses.
    summary text not null default '',
    -- The step that decided it.
    failed_step integer,
    created_ms integer not null,
    started_ms integer,
    finished_ms integer,
    unique (repo_id, number)
) strict;

create unique index builds_dedupe on builds (repo_id, dedupe) where dedupe is not null;

create table attempts (
    id integer primary key,
    build_id integer not null references builds (id),
    number integer not null,
    state text not null,
    -- queued -> preparing -> launched -> recorded -> done; see queue.rs.
    phase text not null
        check (phase in ('queued', 'preparing', 'launched', 'recorded', 'done')),
    lease_owner text,
    lease_until_ms integer,
    executor text not null default '',
    -- A model::Plan as JSON, once there is one.
    plan text,
    spec_file text,
    -- A list of model::Diagnostic as JSON, when the spec has problems.
    diagnostics text,
    -- The spec's text when it has problems, so that pages can show the place.
    spec_source blob,
    error text,
    hint text,
    -- What enforces limits; damages of the journal; for people.
    remarks text not null default '',
    created_ms integer not null,
    started_ms integer,
    finished_ms integer,
    unique (build_id, number)
) strict;

create index attempts_open on attempts (id) where phase <> 'done';

create table steps (
    attempt_id integer not null references attempts (id),
    idx integer not null,
    name text not null,
    -- A model::Outcome as JSON; null while it runs or waits.
    outcome text,
    started_us integer,
    ended_us integer,
    duration_us integer,
    output_bytes integer,
    leftovers integer not null default 0,
    primary key (attempt_id, idx)
) strict;

create table outbox (
    id integer primary key,
    repo_id integer not null references repos (id),
    build_id integer not null references builds (id),
    -- A model::CommitStatus as JSON.
    status text not null,
    -- One queue per commit and context: a newer row replaces an older one that is not sent yet.
    revision text not null,
    context text not null,
    state text not null check (state in ('waiting', 'sent', 'replaced', 'refused')),
    tries integer not null default 0,
    next_ms integer not null,
    last_error text not null default '',
    created_ms integer not null,
    sent_ms integer
) strict;

create index outbox_waiting on outbox (next_ms) where state = 'waiting';
create index outbox_build on outbox (build_id);
