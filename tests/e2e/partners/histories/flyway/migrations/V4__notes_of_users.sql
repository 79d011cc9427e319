-- Notes.
create table notes (id bigint not null primary key, text text not null);

insert into notes (id, text) values (1, 'a;b');