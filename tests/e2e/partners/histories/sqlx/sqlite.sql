PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE _sqlx_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN NOT NULL,
    checksum BLOB NOT NULL,
    execution_time BIGINT NOT NULL
);
INSERT INTO _sqlx_migrations VALUES(20260101000000,'users','2026-11-28 22:39:34',1,X'1ee94b1a44ea784e9b05934633ed1f8d2cc7180030d21fa36d918947a57f7a3bba92df5d547cfd444db26fc30fcd4dfa',5062523);
INSERT INTO _sqlx_migrations VALUES(20260102000000,'orders','2026-11-28 22:39:34',1,X'39bc7c8d0b11669417509a3dfc399b6b184e00b61b99e0c4ae0e2f8bbf92cd8e73f09131bfb0153fe47e56517142fae7',793219);
INSERT INTO _sqlx_migrations VALUES(20260103000000,'email','2026-11-28 22:39:34',1,X'e100faf4db5564c4d65fa69908c26a90e3c4191aadc59b37ecc70a5427434671c5a2cbed3c77385220b762a4bf5b62f0',751087);
CREATE TABLE users (id bigint not null primary key, name text not null, email text);
INSERT INTO users VALUES(1,'Ada; Countess',NULL);
INSERT INTO users VALUES(2,'Grace',NULL);
CREATE TABLE orders (id bigint not null primary key, buyer bigint not null references users (id));
CREATE INDEX orders_buyer on orders (buyer);
COMMIT;
