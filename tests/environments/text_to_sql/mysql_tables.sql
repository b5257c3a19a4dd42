-- what a dump of MySQL holds: the script that mysql_dump.sql was made of
CREATE TABLE `customer` (
  `Id` int unsigned NOT NULL AUTO_INCREMENT,
  `Name` varchar(40) NOT NULL DEFAULT 'x;y' COMMENT 'it''s; a `name`',
  `kind` enum('a','b','it''s','c,d') DEFAULT 'a',
  `flags` set('x','y','z') DEFAULT 'x,y',
  `active` tinyint(1) DEFAULT '1',
  `price` decimal(10,2) unsigned DEFAULT '0.00',
  `ratio` double DEFAULT NULL,
  `rating` float DEFAULT NULL,
  `since` datetime DEFAULT '2024-01-01' ON UPDATE CURRENT_TIMESTAMP,
  `changed` timestamp NOT NULL DEFAULT '2024-01-01 12:00:00' ON UPDATE CURRENT_TIMESTAMP,
  `fine` datetime(6) DEFAULT NULL,
  `born` date DEFAULT NULL,
  `wakes` time DEFAULT NULL,
  `y` year DEFAULT NULL,
  `pic` blob,
  `vb` varbinary(10) DEFAULT NULL,
  `b4` binary(4) DEFAULT NULL,
  `bits` bit(5) DEFAULT b'101',
  `big` bigint unsigned DEFAULT NULL,
  `doc` text,
  `code` char(5) COLLATE utf8mb4_bin DEFAULT NULL,
  PRIMARY KEY (`Id`), UNIQUE KEY `u` (`Name`), UNIQUE KEY `c` (`code`), KEY `k` (`kind`,`active`), FULLTEXT KEY `ft` (`doc`)
) ENGINE=InnoDB AUTO_INCREMENT=30 DEFAULT CHARSET=utf8mb4 COMMENT='clients; all';
INSERT INTO customer VALUES (1, 'O\'Neil; "q"\n\t\\', 'a', 'x,z', 1, 12.50, 1.5, 2.5, '2024-01-02 03:04:05',
  '2024-01-02 03:04:05', '2024-01-02 03:04:05.125000', '2024-02-29', '12:30:00', 2024, x'00FF41', x'4142', x'4142',
  b'10101', 9223372036854775807, '/*!50003 long */ -- text /* not */ # comment', 'ab');
INSERT INTO customer (`Name`, `code`) VALUES ('def', 'AB'), ('zwei äöü € 😀', NULL);
INSERT INTO customer SET name = 'set', KIND = 'IT\'S', doc = 'a\Zc\%d\_e\r\nDELIMITER ;;\n', vb = 0x5C27;
CREATE TABLE `order lines` (
  `order` int NOT NULL,
  `no` smallint NOT NULL,
  `cust` int unsigned DEFAULT NULL,
  `Total` decimal(12,4) GENERATED ALWAYS AS (`no` * 1.5) STORED,
  `next` int GENERATED ALWAYS AS (`no` + 1) VIRTUAL,
  PRIMARY KEY (`order`,`no`),
  KEY `c` (`cust`),
  CONSTRAINT `fk` FOREIGN KEY (`cust`) REFERENCES `customer` (`Id`) ON DELETE CASCADE ON UPDATE SET NULL,
  CONSTRAINT `positive` CHECK (`no` > 0)
);
INSERT INTO `order lines` (`order`,`no`,`cust`) VALUES (1,1,1), (1,2,1), (2,1,NULL);
CREATE TABLE log (at int, what varchar(20)) PARTITION BY HASH (at) PARTITIONS 2;
INSERT INTO log VALUES (1, 'one'), (2, 'two');
DELIMITER ;;
CREATE TRIGGER `logged` BEFORE INSERT ON log FOR EACH ROW BEGIN SET NEW.what = 'x;'; END;;
CREATE PROCEDURE p() BEGIN SELECT 1; END;;
DELIMITER ;
CREATE VIEW `active ones` AS SELECT c.Id AS id, c.Name AS `the name` FROM customer c WHERE c.active = 1;
CREATE VIEW totals AS SELECT c.Id, count(*) AS n, sum(o.Total) AS total
  FROM customer c JOIN `order lines` o ON o.cust = c.Id GROUP BY c.Id;
