-- One of everything that a dump has to bring back.
CREATE TABLE `zwei` (
  id int unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
  eins int unsigned,
  CONSTRAINT back FOREIGN KEY (eins) REFERENCES `select` (id) ON DELETE SET NULL
) AUTO_INCREMENT=500 COMMENT='circle; AUTO_INCREMENT=3';
CREATE TABLE `select` (
  id int unsigned NOT NULL AUTO_INCREMENT,
  zwei int unsigned,
  `order` varchar(50) CHARACTER SET latin1 DEFAULT 'o''hara \\ "x"',
  `gr``ö,ße` decimal(10,2) NOT NULL DEFAULT 0.5 COMMENT 'with, comma; ''quote'' and\nline',
  total decimal(12,2) AS (`gr``ö,ße` * 2) STORED,
  half double AS (total / 4) VIRTUAL,
  kind enum('a','b''c','ü') DEFAULT 'a',
  flags set('x','y'),
  made timestamp(3) NULL DEFAULT current_timestamp(3) ON UPDATE current_timestamp(3),
  raw varbinary(16), body longtext, doc json, place point, bits bit(5), f float, d double,
  hidden int INVISIBLE DEFAULT 5,
  PRIMARY KEY (id),
  UNIQUE KEY `uni que` (`order`(10), kind),
  KEY backwards (made DESC),
  FULLTEXT KEY words (body),
  CONSTRAINT positive CHECK (`gr``ö,ße` > 0),
  CONSTRAINT forth FOREIGN KEY (zwei) REFERENCES zwei (id) ON UPDATE CASCADE
) ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4;
CREATE TABLE parts (id int NOT NULL, at date NOT NULL, PRIMARY KEY (id, at))
  PARTITION BY RANGE (year(at)) (PARTITION p0 VALUES LESS THAN (2025), PARTITION p1 VALUES LESS THAN MAXVALUE);
CREATE TABLE aria_table (a int) ENGINE=Aria;
CREATE SEQUENCE numbers START WITH 10 INCREMENT BY 5;
CREATE TABLE numbered (n bigint DEFAULT nextval(numbers));
CREATE TABLE logged (id int, what text);
CREATE FUNCTION twice(a int) RETURNS int DETERMINISTIC COMMENT 'doubles; it' RETURN a * 2;
DELIMITER //
CREATE PROCEDURE fill(IN n int, OUT done int)
BEGIN
  DECLARE i int DEFAULT 0; -- a comment; with a semicolon
  WHILE i < n DO
    INSERT INTO zwei (eins) VALUES (NULL);
    SET i = i + 1;
  END WHILE;
  SET done = i;
END//
CREATE TRIGGER b_first BEFORE INSERT ON zwei FOR EACH ROW SET NEW.eins = NEW.eins//
CREATE TRIGGER a_second BEFORE INSERT ON zwei FOR EACH ROW FOLLOWS b_first
BEGIN
  IF NEW.eins = 0 THEN SET NEW.eins = NULL; END IF;
END//
CREATE EVENT cleaning ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01 00:00:00' DISABLE COMMENT 'c' DO BEGIN DELETE FROM logged; DELETE FROM zwei; END//
DELIMITER ;
CREATE VIEW c_base AS SELECT id, `order` AS `b_middle`, twice(id) AS t FROM `select` WHERE kind IN ('a', 'ü');
CREATE VIEW b_middle AS SELECT t, count(*) AS n FROM c_base GROUP BY t;
CREATE ALGORITHM=UNDEFINED SQL SECURITY INVOKER VIEW a_top AS SELECT b.n, z.id FROM b_middle b JOIN zwei z ON z.id = b.n;
