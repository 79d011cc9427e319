-- windlass: phase contract
-- windlass: requires-release 2.0
-- windlass: requires-data 3
drop trigger people_names on people;
drop function people_names();
alter table people drop column name;
-- windlass: verify
select id from people where given is null or family is null;
