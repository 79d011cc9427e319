INSERT INTO zwei (id) VALUES (1), (2), (600);
INSERT INTO `select` (zwei, `order`, `gr``ö,ße`, kind, flags, made, raw, body, doc, place, bits, f, d)
  VALUES (1, 'it''s \\ é', 3.25, 'ü', 'x,y', '2026-01-02 03:04:05.678', X'00ff27', 'a\0b\n''☃', '{"a": "ü"}', POINT(1, 2), b'10101', 0.1, 0.1),
  (NULL, NULL, 1, 'a', '', NULL, X'', '', NULL, NULL, NULL, NULL, 1e300);
UPDATE zwei SET eins = 1 WHERE id = 2;
INSERT INTO parts VALUES (1, '2020-01-01'), (2, '2026-01-01');
INSERT INTO numbered VALUES (), ();
INSERT INTO logged VALUES (1, 'x');
