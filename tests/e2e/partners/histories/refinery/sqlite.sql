PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE refinery_schema_history(
             version int4 PRIMARY KEY,
             name VARCHAR(255),
             applied_on VARCHAR(255),
             checksum VARCHAR(255));
INSERT INTO refinery_schema_history VALUES(1,'users','2026-11-28T22:39:35.178116651Z','13311383469168214847');
INSERT INTO refinery_schema_history VALUES(2,'orders','2026-11-28T22:39:35.178124543Z','12126025639644898816');
INSERT INTO refinery_schema_history VALUES(3,'email','2026-11-28T22:39:35.178125965Z','6150863464001585597');
CREATE TABLE users (id bigint not null primary key, name text not null, email text);
INSERT INTO users VALUES(1,'Ada; Countess',NULL);
INSERT INTO users VALUES(2,'Grace',NULL);
CREATE TABLE orders (id bigint not null primary key, buyer bigint not null references users (id));
CREATE INDEX orders_buyer on orders (buyer);
COMMIT;
