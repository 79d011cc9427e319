create table people (
    id bigint generated always as identity primary key,
    name text not null
);
-- windlass: down
drop table people;
