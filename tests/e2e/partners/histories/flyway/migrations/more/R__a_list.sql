drop view if exists a_list;
create view a_list as select text from notes;
