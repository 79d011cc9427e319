-- Whoever has ordered.
create table orders (id bigint not null primary key, buyer bigint not null references users (id));
create index orders_buyer on orders (buyer);
