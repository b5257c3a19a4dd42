CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE city (id serial PRIMARY KEY, name text NOT NULL, state char(2), pop bigint, area numeric(12,2), founded date);
CREATE TABLE person (
  id integer PRIMARY KEY, name varchar(40), "Nick" text, city_id int REFERENCES city(id), born date, joined timestamp DEFAULT now(),
  seen timestamptz, salary numeric(10,2), score double precision, rating real, active boolean DEFAULT true, mood mood, tags text[], info jsonb, lunch time, code char(5), n smallint, b bigint);
CREATE TABLE orders (oid bigserial PRIMARY KEY, pid int REFERENCES person(id), amount numeric(10,2) NOT NULL, qty int, placed timestamp without time zone, shipped date, status varchar(10) DEFAULT 'new', note text);
INSERT INTO city (name, state, pop, area, founded) VALUES ('New York','NY',8400000,783.80,'1624-01-01'),('Newark','NJ',300000,66.90,'1666-05-21'),
 ('Los Angeles','CA',3900000,1299.00,'1781-09-04'),('san Diego','CA',1400000,963.60,NULL),('Łódź','PL',NULL,293.20,'1423-07-29');
INSERT INTO person VALUES
 (1,'Ann Lee','annie',1,'1980-02-29','2023-01-31 10:15:00','2024-03-01 12:00:00+02',1000.10,2.5,4.2,true,'sad','{a,b}','{"a":1,"b":"x"}','12:30','AB',3,5000000000),
 (2,'bob_ray',NULL,1,'1975-12-31','2023-03-31 23:59:59','2024-03-02 00:30:00+00',2000.20,3.5,4.2,false,'ok',NULL,'{"a":2}','08:00:00','ABCDE',7,2),
 (3,'Cy%Q','C',3,'1990-07-15','2024-02-29 00:00:00',NULL,1500.05,-2.5,3.9,true,'happy','{}',NULL,NULL,NULL,NULL,3),
 (4,'dan','D''x',NULL,NULL,'2024-12-31 12:00:00','2023-12-31 23:00:00-05',NULL,NULL,4.7,NULL,NULL,NULL,'{"c":{"d":[1,2]}}','23:59:59','x',-3,NULL),
 (5,'Eve ANN','e',4,'2001-01-01','2024-01-15 08:30:00',NULL,999.99,0.1,NULL,true,'ok','{c}','{"a":"3"}','00:00','yz',2,10),
 (6,'Flo',NULL,5,'1980-02-29','2023-05-05 05:05:05',NULL,0.30,0.2,4.2,false,'sad',NULL,NULL,NULL,'',4,7);
INSERT INTO orders (pid, amount, qty, placed, shipped, status, note) VALUES
 (1,10.00,3,'2024-01-31 10:00:00','2024-02-02','done','a\b'),(1,20.05,7,'2024-02-29 11:30:30','2024-03-05','done',NULL),(1,0.10,1,'2023-12-31 23:59:59',NULL,'new','x*y'),
 (2,0.20,2,'2024-03-31 00:00:00','2024-04-01','Done','100%'),(2,99.99,10,'2024-04-01 12:00:00',NULL,'new','é'),(3,2.675,5,'2022-06-15 06:00:00','2022-06-15','lost','[z]'),
 (3,1.005,4,'2024-06-30 18:45:10','2024-07-04','done','tab	x'),(5,33.33,NULL,'2024-05-05 05:05:05','2024-05-06','done',''),(6,1000.00,100,NULL,NULL,'new','A_b');
CREATE VIEW spend AS SELECT p.id, p.name, sum(o.amount) AS total, count(*) AS n, max(o.placed) AS last FROM person p JOIN orders o ON o.pid = p.id GROUP BY p.id, p.name;
