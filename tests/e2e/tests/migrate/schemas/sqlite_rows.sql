insert into other (id) values (1);
insert into "select" (id, "Full Name", [in brackets], back, "check", ünï, other) values
  (1, 'it''s
two lines', x'00ff27', 0.1, 1, 'a' || char(0) || 'b', 1), (7, '', null, 1e300, null, '☃', null);
update other set back = 7;
insert into pairs values ('a', 1), ('b', x'01'), ('c', 1.5);
