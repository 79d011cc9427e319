create table users (id bigint not null primary key, name text not null);
insert into users (id, name) values (1, 'Ada; Countess'), (2, 'Grace');
