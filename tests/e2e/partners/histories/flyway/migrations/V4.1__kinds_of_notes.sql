alter table notes add column kind varchar(20) default '${kind}';
