create table marks (id bigint not null primary key, note bigint not null references notes (id));
