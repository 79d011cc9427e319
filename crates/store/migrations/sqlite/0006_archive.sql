-- Copies of sealed logs outside of this machine: what is to be written, is kept, is to be removed.
-- Additive.

create table archive_sinks (
    -- elasticsearch, s3
    name text primary key,
    -- Whether the server was started with it: only then does a finished attempt make rows for it.
    active integer not null
) strict, without rowid;

create table archive_copies (
    id integer primary key,
    sink text not null references archive_sinks (name),
    attempt_id integer not null references attempts (id),
    build_id integer not null references builds (id),
    step integer not null,
    -- See archive.rs.
    state text not null
        check (state in ('waiting', 'kept', 'empty', 'refused', 'removing', 'removed')),
    tries integer not null default 0,
    next_ms integer not null,
    last_error text not null default '',
    -- Where it is there: an index, a key.
    place text not null default '',
    -- The log's figures, once it was written.
    bytes integer not null default 0,
    sha256 text not null default '',
    parts integer not null default 0,
    created_ms integer not null,
    -- When it was last written and checked.
    kept_ms integer,
    unique (sink, attempt_id, step)
) strict;

create index archive_due on archive_copies (sink, next_ms) where state in ('waiting', 'removing');
create index archive_build on archive_copies (build_id);
create index archive_place on archive_copies (sink, place) where state = 'kept';

-- Objects that several copies may share: gone only with the last of them.
create table archive_objects (
    key text not null,
    copy_id integer not null references archive_copies (id),
    primary key (key, copy_id)
) strict, without rowid;

create index archive_objects_copy on archive_objects (copy_id);
