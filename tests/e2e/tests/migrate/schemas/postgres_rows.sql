INSERT INTO shop.customers (mail, "Full Name", kind, at, tags, born) VALUES
  ('A@x', 'Ünï ''quoted'' \n', 'a', ROW(0.1, 2.50, E'tab\t'), '{"a,b","c\"d"}', '2001-02-03 04:05:06.789012+02'),
  ('b@x', E'two\nlines', 'b''c', NULL, '{}', NULL);
INSERT INTO shop.orders (customer, room, during, span) SELECT 100, n, tstzrange('2026-01-01', '2026-01-02'), '[1,2.5)' FROM generate_series(1, 3) n;
UPDATE shop.customers SET favourite = 2 WHERE id = 100;
INSERT INTO shop."Order" VALUES ('f', NULL, '☃', '"');
INSERT INTO shop.events VALUES (1, '2025-05-05', 'a'), (2, '2027-01-01', 'b'), (3, '2028-01-01', DEFAULT);
INSERT INTO shop.dogs VALUES (1, 'rex', 'wuff');
INSERT INTO shop.animals VALUES (2, 'tom');
INSERT INTO shop.circle VALUES (1);
REFRESH MATERIALIZED VIEW shop.totals;
