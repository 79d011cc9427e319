PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE IF NOT EXISTS "flyway_schema_history" (
    "installed_rank" INT NOT NULL PRIMARY KEY,
    "version" VARCHAR(50),
    "description" VARCHAR(200) NOT NULL,
    "type" VARCHAR(20) NOT NULL,
    "script" VARCHAR(1000) NOT NULL,
    "checksum" INT,
    "installed_by" VARCHAR(100) NOT NULL,
    "installed_on" TEXT NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f','now')),
    "execution_time" INT NOT NULL,
    "success" BOOLEAN NOT NULL
);
INSERT INTO flyway_schema_history VALUES(1,'1','users','SQL','V1__users.sql',-731224680,'','2026-11-29 19:11:22.548',2,1);
INSERT INTO flyway_schema_history VALUES(2,'2','orders','SQL','V2__orders.sql',1293312867,'','2026-11-29 19:11:22.555',1,1);
INSERT INTO flyway_schema_history VALUES(3,'3','email','SQL','V3__email.sql',-1929901731,'','2026-11-29 19:11:22.560',0,1);
INSERT INTO flyway_schema_history VALUES(4,'4','notes of users','SQL','V4__notes_of_users.sql',1782958608,'','2026-11-29 19:11:22.564',0,1);
INSERT INTO flyway_schema_history VALUES(5,'4.1','kinds of notes','SQL','V4.1__kinds_of_notes.sql',-1803447727,'','2026-11-29 19:11:22.568',0,1);
INSERT INTO flyway_schema_history VALUES(6,'4.10','marks','SQL','more/V4_10__marks.sql',1507111538,'','2026-11-29 19:11:22.572',0,1);
INSERT INTO flyway_schema_history VALUES(7,'20260105','last','SQL','V20260105__last.sql',934206162,'','2026-11-29 19:11:22.575',0,1);
INSERT INTO flyway_schema_history VALUES(8,NULL,'a list','SQL','more/R__a_list.sql',1335958456,'','2026-11-29 19:11:22.578',0,1);
INSERT INTO flyway_schema_history VALUES(9,NULL,'titles','SQL','R__titles.sql',-618900247,'','2026-11-29 19:11:22.581',0,1);
CREATE TABLE users (id bigint not null primary key, name text not null, email text);
INSERT INTO users VALUES(1,'Ada; Countess',NULL);
INSERT INTO users VALUES(2,'Grace',NULL);
CREATE TABLE orders (id bigint not null primary key, buyer bigint not null references users (id));
CREATE TABLE notes (id bigint not null primary key, text text not null, kind varchar(20) default 'plain');
INSERT INTO notes VALUES(1,'a;b','plain');
CREATE TABLE marks (id bigint not null primary key, note bigint not null references notes (id));
CREATE INDEX "flyway_schema_history_s_idx" ON "flyway_schema_history" ("success");
CREATE INDEX orders_buyer on orders (buyer);
CREATE INDEX notes_text on notes (text);
CREATE VIEW a_list as select text from notes;
CREATE VIEW titles as select text as title from notes where kind = 'plain';
COMMIT;
