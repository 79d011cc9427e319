-- ${Kind} ones, as ${flyway:filename} has them.
drop view if exists titles;
create view titles as select text as title from notes where kind = '${kind}';
