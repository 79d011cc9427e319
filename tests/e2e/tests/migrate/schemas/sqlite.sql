-- One of everything that a dump has to bring back.
create table "select" (
  id integer primary key autoincrement,
  "Full Name" text not null default 'o''hara; -- no comment' collate nocase,
  [in brackets] blob, `back` real default (1 + 2), -- a comment; with a semicolon
  "check" int check ("check" > 0),
  ünï text,
  twice int generated always as (id * 2) stored,
  other integer references other(id) on delete cascade deferrable initially deferred,
  constraint "two, three" unique ("Full Name", ünï),
  check (length("Full Name") < 100)
);
create table other (id integer primary key, back integer references "select" (id)) strict;
alter table other add column late text default 'x';
create table pairs (a text, b any, primary key (a, b)) without rowid, strict;
create virtual table words using fts5(title, body);
create unique index "my index" on "select" (lower("Full Name"), ünï desc) where ünï is not null;
create view b_first as select id, "Full Name" as name from "select" -- ends in a comment
;
create view a_second as select count(*) as n from b_first;
create trigger "on it" after update of ünï on "select" when new.ünï <> '' begin
  update other set back = new.id where id = case when 1 then 2 end;
  insert into other (id) values (new.id + 1000);
end;
create trigger on_view instead of insert on a_second begin select 1; end;
