-- what people and programs write for MySQL: each script makes here what it makes on a server, and so does its dump

-- # numbers that count
CREATE TABLE t (id int auto_increment primary key, a int);
INSERT INTO t VALUES (NULL,1),(0,2);
INSERT INTO t VALUES (7,3);
INSERT INTO t (a) VALUES (4),(5);
INSERT INTO t VALUES (DEFAULT,6);

-- # they begin where the table says
CREATE TABLE t (id int auto_increment primary key, a int) AUTO_INCREMENT=10;
INSERT INTO t (a) VALUES (1);
ALTER TABLE t AUTO_INCREMENT=50;
INSERT INTO t (a) VALUES (1);

-- # a zero that stays
SET SQL_MODE='NO_AUTO_VALUE_ON_ZERO';
CREATE TABLE t (id int auto_increment primary key, a int);
INSERT INTO t VALUES (0,1);
INSERT INTO t VALUES (NULL,2);

-- # serial
CREATE TABLE t (id serial, a int);
INSERT INTO t VALUES (9,1);
INSERT INTO t (a) VALUES (1);

-- # dropped and made anew
CREATE TABLE t (id int auto_increment primary key, a int);
DROP TABLE t;
CREATE TABLE t (id int auto_increment primary key, a int) AUTO_INCREMENT=5;
INSERT INTO t (a) VALUES (2);

-- # enum
CREATE TABLE t (e enum('a ','B','it''s','2') DEFAULT 'A', x int);
INSERT INTO t VALUES ('A',1),(2,2),('b ',3),(DEFAULT,4),(NULL,5),('2',6),('3',7);
INSERT INTO t (x) VALUES (6);

-- # set
CREATE TABLE t (s set('x','y','Z'));
INSERT INTO t VALUES ('z,x'),('X'),(''),(3),('y,y');

-- # blanks and zero bytes
CREATE TABLE t (c char(5), v varchar(5), b binary(4), w varbinary(4));
INSERT INTO t VALUES ('ab  ','ab  ','ab','ab'),(' a',' a',x'41',0x41),('','',_binary 'a\\b','\\x41');

-- # bits
CREATE TABLE t (b bit(8), c bit, i int, v varchar(9));
INSERT INTO t VALUES (b'101',b'1',b'101',b'1000001'),(5,1,0x0a,0x4142),(0b11,0,0x0b,x'4142');

-- # truth
CREATE TABLE t (b bool, c boolean default true, v varchar(9), i int);
INSERT INTO t VALUES (true,false,true,true),(2,0,false,false);

-- # numbers
CREATE TABLE t (a decimal, b decimal(5), c dec(6,2), d fixed(5,1) unsigned, i int, f float unsigned, r real);
INSERT INTO t VALUES (1.5,2.5,1.005,2.25,1.5,0.1,0.123456789),('3.5','1e2',12,9.95,-2.5,1e10,.5),
  (NULL,NULL,-1,0,'7',1,1);

-- # ranges
CREATE TABLE t (a tinyint, b tinyint unsigned, c smallint unsigned, d mediumint unsigned, e int unsigned, f bigint);
INSERT INTO t VALUES (-128,255,65535,16777215,4294967295,-9223372036854775808);

-- # numbers as texts
CREATE TABLE t (v varchar(20));
INSERT INTO t VALUES (1.50),(007),(.5),(100),(-5),(1.5e-3);

-- # moments
CREATE TABLE t (a datetime, b date, c time, d datetime(3));
INSERT INTO t VALUES ('2024-1-2 03:04:05','2024-1-2','10:20','2024-01-01 00:00:00.670'),
  ('2024-01-02T03:04:05','2024/01/02','1:02:03','2024-01-01'),
  ('2024-01-02 03:04','2024-01-02 12:00:00',TIME '10:00:00',NULL);

-- # escapes
CREATE TABLE t (a varchar(50));
INSERT INTO t VALUES ('\Z'),('\%'),('\_'),('\x\q'),('\b\t\n\r'),('\\'),('\''),('\"'),
  ('it''s'),('back\\n'),("a""b"),("it's"),("\"x\""),('a' 'b'),(N'n'),(_utf8mb4'é'),(x'C3A9');

-- # comments and ends in texts
CREATE TABLE t (a varchar(99)); -- it's
INSERT INTO t VALUES ('/*!50003 x */'),('/* y */; z'),('# no'),('-- no'), # a;b
('x
DELIMITER ;;
y
DELIMITER ;
z');
--
INSERT INTO t VALUES (3--1);

-- # a script between delimiters
CREATE TABLE a (n int);
delimiter $$
CREATE PROCEDURE p() BEGIN INSERT INTO a VALUES (3); END$$
INSERT INTO a VALUES (1)$$
delimiter ;
INSERT INTO a VALUES (2);

-- # a trigger of another table
CREATE TABLE a (n int);
CREATE TABLE b (n int);
CREATE DEFINER=`root`@`localhost` TRIGGER tr BEFORE INSERT ON a FOR EACH ROW SET NEW.n = 7;
INSERT INTO b VALUES (1);

-- # names
CREATE TABLE Users (Id int, `Name` text, createdAt int);
INSERT INTO `Users` (id, name, CreatedAt) VALUES (1,'x',2);
INSERT INTO d.Users SET ID=2, `NAME`='y';
CREATE TABLE a$b (`c"d` int, `e[f]` int, `2020` int);
INSERT INTO a$b VALUES (1,2,3);

-- # columns put in their places
CREATE TABLE t (a int, b int);
ALTER TABLE t ADD COLUMN c int AFTER a;
ALTER TABLE t ADD d int FIRST, ADD e varchar(3) default 'q';
INSERT INTO t (d, a, c, b) VALUES (1,2,3,4);

-- # defaults
CREATE TABLE t (a int default (1+2), b varchar(9) default 5, c decimal(5,2) default 1.555, g bit(4) default b'11',
  h enum('a','b') default 'b', z int);
ALTER TABLE t ALTER a SET DEFAULT 8;
INSERT INTO t (z) VALUES (1);
INSERT INTO t VALUES ();

-- # phpMyAdmin
CREATE TABLE `city` (`id` int(11) NOT NULL,
  `name` varchar(50) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci NOT NULL);
INSERT INTO `city` VALUES (1, 'Zürich'), (4, 'Oslo');
ALTER TABLE `city` ADD PRIMARY KEY (`id`), ADD UNIQUE KEY `name` (`name`), ADD KEY `k` (`name`(5));
ALTER TABLE `city` MODIFY `id` int(11) NOT NULL AUTO_INCREMENT, AUTO_INCREMENT=3;
INSERT INTO city (name) VALUES ('Bergen');

-- # keys that ignore case, and that do not
CREATE TABLE t (a varchar(10) COLLATE utf8mb4_bin UNIQUE);
INSERT INTO t VALUES ('A'),('a');
CREATE TABLE u (a varchar(10) UNIQUE) COLLATE=utf8mb4_bin;
INSERT INTO u VALUES ('A'),('a');
CREATE TABLE w (a int primary key, b varchar(5) unique);
INSERT IGNORE INTO w VALUES (1,'a'),(1,'b'),(2,'A'),(3,'c');

-- # a unique index
CREATE TABLE t (a int);
CREATE UNIQUE INDEX u ON t (a);
INSERT IGNORE INTO t VALUES (1),(1);

-- # partitions
CREATE TABLE t (id int, y int) PARTITION BY RANGE (y) (PARTITION p0 VALUES LESS THAN (2000),
  PARTITION p1 VALUES LESS THAN MAXVALUE);
INSERT INTO t VALUES (1,1999),(2,2001);

-- # computed columns
CREATE TABLE t (a decimal(8,2), b decimal(8,1) AS (a*1.15) STORED, c int as (a*1.5));
INSERT INTO t (a) VALUES (1.13),(3),(1);

-- # made by queries
CREATE TABLE t (a int, b varchar(4));
INSERT INTO t VALUES (1,'x');
CREATE TABLE u AS SELECT a, b FROM t;
CREATE TABLE w (b varchar(4));
INSERT INTO w SELECT b FROM t;

-- # views
CREATE TABLE t (A int, b varchar(4));
CREATE OR REPLACE ALGORITHM=MERGE VIEW v (x, `Y`) AS SELECT a, upper(b) FROM t WITH CASCADED CHECK OPTION;
CREATE SQL SECURITY INVOKER VIEW w AS SELECT x + 1 AS `n 1` FROM v;
INSERT INTO t VALUES (1,'q');
