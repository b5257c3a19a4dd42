/*M!999999\- enable the sandbox mode */ 
-- MariaDB dump 10.19  Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)
--
-- Host: localhost    Database: shop
-- ------------------------------------------------------
-- Server version	10.11.19-MariaDB-0+deb12u1

/*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;
/*!40101 SET @OLD_CHARACTER_SET_RESULTS=@@CHARACTER_SET_RESULTS */;
/*!40101 SET @OLD_COLLATION_CONNECTION=@@COLLATION_CONNECTION */;
/*!40101 SET NAMES utf8mb4 */;
/*!40103 SET @OLD_TIME_ZONE=@@TIME_ZONE */;
/*!40103 SET TIME_ZONE='+00:00' */;
/*!40014 SET @OLD_UNIQUE_CHECKS=@@UNIQUE_CHECKS, UNIQUE_CHECKS=0 */;
/*!40014 SET @OLD_FOREIGN_KEY_CHECKS=@@FOREIGN_KEY_CHECKS, FOREIGN_KEY_CHECKS=0 */;
/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;
/*!40111 SET @OLD_SQL_NOTES=@@SQL_NOTES, SQL_NOTES=0 */;

--
-- Temporary table structure for view `active ones`
--

DROP TABLE IF EXISTS `active ones`;
/*!50001 DROP VIEW IF EXISTS `active ones`*/;
SET @saved_cs_client     = @@character_set_client;
SET character_set_client = utf8mb4;
/*!50001 CREATE VIEW `active ones` AS SELECT
 NULL AS `id`,
 NULL AS `the name` */;
SET character_set_client = @saved_cs_client;

--
-- Table structure for table `customer`
--

DROP TABLE IF EXISTS `customer`;
/*!40101 SET @saved_cs_client     = @@character_set_client */;
/*!40101 SET character_set_client = utf8mb4 */;
CREATE TABLE `customer` (
  `Id` int(10) unsigned NOT NULL AUTO_INCREMENT,
  `Name` varchar(40) NOT NULL DEFAULT 'x;y' COMMENT 'it''s; a `name`',
  `kind` enum('a','b','it''s','c,d') DEFAULT 'a',
  `flags` set('x','y','z') DEFAULT 'x,y',
  `active` tinyint(1) DEFAULT 1,
  `price` decimal(10,2) unsigned DEFAULT 0.00,
  `ratio` double DEFAULT NULL,
  `rating` float DEFAULT NULL,
  `since` datetime DEFAULT '2024-01-01 00:00:00' ON UPDATE current_timestamp(),
  `changed` timestamp NOT NULL DEFAULT '2024-01-01 12:00:00' ON UPDATE current_timestamp(),
  `fine` datetime(6) DEFAULT NULL,
  `born` date DEFAULT NULL,
  `wakes` time DEFAULT NULL,
  `y` year(4) DEFAULT NULL,
  `pic` blob DEFAULT NULL,
  `vb` varbinary(10) DEFAULT NULL,
  `b4` binary(4) DEFAULT NULL,
  `bits` bit(5) DEFAULT b'101',
  `big` bigint(20) unsigned DEFAULT NULL,
  `doc` text DEFAULT NULL,
  `code` char(5) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL,
  PRIMARY KEY (`Id`),
  UNIQUE KEY `u` (`Name`),
  UNIQUE KEY `c` (`code`),
  KEY `k` (`kind`,`active`),
  FULLTEXT KEY `ft` (`doc`)
) ENGINE=InnoDB AUTO_INCREMENT=33 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci COMMENT='clients; all';
/*!40101 SET character_set_client = @saved_cs_client */;

--
-- Dumping data for table `customer`
--

LOCK TABLES `customer` WRITE;
/*!40000 ALTER TABLE `customer` DISABLE KEYS */;
INSERT INTO `customer` VALUES
(1,'O\'Neil; \"q\"\n	\\','a','x,z',1,12.50,1.5,2.5,'2024-01-02 03:04:05','2024-01-02 03:04:05','2024-01-02 03:04:05.125000','2024-02-29','12:30:00',2024,0x00FF41,0x4142,0x41420000,0x15,9223372036854775807,'/*!50003 long */ -- text /* not */ # comment','ab'),
(30,'def','a','x,y',1,0.00,NULL,NULL,'2024-01-01 00:00:00','2024-01-01 12:00:00',NULL,NULL,NULL,NULL,NULL,NULL,NULL,0x05,NULL,NULL,'AB'),
(31,'zwei äöü € 😀','a','x,y',1,0.00,NULL,NULL,'2024-01-01 00:00:00','2024-01-01 12:00:00',NULL,NULL,NULL,NULL,NULL,NULL,NULL,0x05,NULL,NULL,NULL),
(32,'set','it\'s','x,y',1,0.00,NULL,NULL,'2024-01-01 00:00:00','2024-01-01 12:00:00',NULL,NULL,NULL,NULL,NULL,0x5C27,NULL,0x05,NULL,'a\Zc\\%d\\_e\r\nDELIMITER ;;\n',NULL);
/*!40000 ALTER TABLE `customer` ENABLE KEYS */;
UNLOCK TABLES;

--
-- Table structure for table `log`
--

DROP TABLE IF EXISTS `log`;
/*!40101 SET @saved_cs_client     = @@character_set_client */;
/*!40101 SET character_set_client = utf8mb4 */;
CREATE TABLE `log` (
  `at` int(11) DEFAULT NULL,
  `what` varchar(20) DEFAULT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci
 PARTITION BY HASH (`at`)
PARTITIONS 2;
/*!40101 SET character_set_client = @saved_cs_client */;

--
-- Dumping data for table `log`
--

LOCK TABLES `log` WRITE;
/*!40000 ALTER TABLE `log` DISABLE KEYS */;
INSERT INTO `log` VALUES
(2,'two'),
(1,'one');
/*!40000 ALTER TABLE `log` ENABLE KEYS */;
UNLOCK TABLES;
/*!50003 SET @saved_cs_client      = @@character_set_client */ ;
/*!50003 SET @saved_cs_results     = @@character_set_results */ ;
/*!50003 SET @saved_col_connection = @@collation_connection */ ;
/*!50003 SET character_set_client  = utf8mb4 */ ;
/*!50003 SET character_set_results = utf8mb4 */ ;
/*!50003 SET collation_connection  = utf8mb4_general_ci */ ;
/*!50003 SET @saved_sql_mode       = @@sql_mode */ ;
/*!50003 SET sql_mode              = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_AUTO_CREATE_USER,NO_ENGINE_SUBSTITUTION' */ ;
DELIMITER ;;
/*!50003 CREATE*/ /*!50017 DEFINER=`root`@`localhost`*/ /*!50003 TRIGGER `logged` BEFORE INSERT ON log FOR EACH ROW BEGIN SET NEW.what = 'x;'; END 
*/;;
DELIMITER ;
/*!50003 SET sql_mode              = @saved_sql_mode */ ;
/*!50003 SET character_set_client  = @saved_cs_client */ ;
/*!50003 SET character_set_results = @saved_cs_results */ ;
/*!50003 SET collation_connection  = @saved_col_connection */ ;

--
-- Table structure for table `order lines`
--

DROP TABLE IF EXISTS `order lines`;
/*!40101 SET @saved_cs_client     = @@character_set_client */;
/*!40101 SET character_set_client = utf8mb4 */;
CREATE TABLE `order lines` (
  `order` int(11) NOT NULL,
  `no` smallint(6) NOT NULL,
  `cust` int(10) unsigned DEFAULT NULL,
  `Total` decimal(12,4) GENERATED ALWAYS AS (`no` * 1.5) STORED,
  `next` int(11) GENERATED ALWAYS AS (`no` + 1) VIRTUAL,
  PRIMARY KEY (`order`,`no`),
  KEY `c` (`cust`),
  CONSTRAINT `fk` FOREIGN KEY (`cust`) REFERENCES `customer` (`Id`) ON DELETE CASCADE ON UPDATE SET NULL,
  CONSTRAINT `positive` CHECK (`no` > 0)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;
/*!40101 SET character_set_client = @saved_cs_client */;

--
-- Dumping data for table `order lines`
--

LOCK TABLES `order lines` WRITE;
/*!40000 ALTER TABLE `order lines` DISABLE KEYS */;
INSERT INTO `order lines` VALUES
(1,1,1,1.5000,2),
(1,2,1,3.0000,3),
(2,1,NULL,1.5000,2);
/*!40000 ALTER TABLE `order lines` ENABLE KEYS */;
UNLOCK TABLES;

--
-- Temporary table structure for view `totals`
--

DROP TABLE IF EXISTS `totals`;
/*!50001 DROP VIEW IF EXISTS `totals`*/;
SET @saved_cs_client     = @@character_set_client;
SET character_set_client = utf8mb4;
/*!50001 CREATE VIEW `totals` AS SELECT
 NULL AS `Id`,
 NULL AS `n`,
 NULL AS `total` */;
SET character_set_client = @saved_cs_client;

--
-- Dumping routines for database 'shop'
--
/*!50003 SET @saved_sql_mode       = @@sql_mode */ ;
/*!50003 SET sql_mode              = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_AUTO_CREATE_USER,NO_ENGINE_SUBSTITUTION' */ ;
/*!50003 DROP PROCEDURE IF EXISTS `p` */;
/*!50003 SET @saved_cs_client      = @@character_set_client */ ;
/*!50003 SET @saved_cs_results     = @@character_set_results */ ;
/*!50003 SET @saved_col_connection = @@collation_connection */ ;
/*!50003 SET character_set_client  = utf8mb4 */ ;
/*!50003 SET character_set_results = utf8mb4 */ ;
/*!50003 SET collation_connection  = utf8mb4_general_ci */ ;
DELIMITER ;;
CREATE DEFINER=`root`@`localhost` PROCEDURE `p`()
BEGIN SELECT 1; END
;;
DELIMITER ;
/*!50003 SET sql_mode              = @saved_sql_mode */ ;
/*!50003 SET character_set_client  = @saved_cs_client */ ;
/*!50003 SET character_set_results = @saved_cs_results */ ;
/*!50003 SET collation_connection  = @saved_col_connection */ ;

--
-- Final view structure for view `active ones`
--

/*!50001 DROP VIEW IF EXISTS `active ones`*/;
/*!50001 SET @saved_cs_client          = @@character_set_client */;
/*!50001 SET @saved_cs_results         = @@character_set_results */;
/*!50001 SET @saved_col_connection     = @@collation_connection */;
/*!50001 SET character_set_client      = utf8mb4 */;
/*!50001 SET character_set_results     = utf8mb4 */;
/*!50001 SET collation_connection      = utf8mb4_general_ci */;
/*!50001 CREATE ALGORITHM=UNDEFINED */
/*!50013 DEFINER=`root`@`localhost` SQL SECURITY DEFINER */
/*!50001 VIEW `active ones` AS select `c`.`Id` AS `id`,`c`.`Name` AS `the name` from `customer` `c` where `c`.`active` = 1 */;
/*!50001 SET character_set_client      = @saved_cs_client */;
/*!50001 SET character_set_results     = @saved_cs_results */;
/*!50001 SET collation_connection      = @saved_col_connection */;

--
-- Final view structure for view `totals`
--

/*!50001 DROP VIEW IF EXISTS `totals`*/;
/*!50001 SET @saved_cs_client          = @@character_set_client */;
/*!50001 SET @saved_cs_results         = @@character_set_results */;
/*!50001 SET @saved_col_connection     = @@collation_connection */;
/*!50001 SET character_set_client      = utf8mb4 */;
/*!50001 SET character_set_results     = utf8mb4 */;
/*!50001 SET collation_connection      = utf8mb4_general_ci */;
/*!50001 CREATE ALGORITHM=UNDEFINED */
/*!50013 DEFINER=`root`@`localhost` SQL SECURITY DEFINER */
/*!50001 VIEW `totals` AS select `c`.`Id` AS `Id`,count(0) AS `n`,sum(`o`.`Total`) AS `total` from (`customer` `c` join `order lines` `o` on(`o`.`cust` = `c`.`Id`)) group by `c`.`Id` */;
/*!50001 SET character_set_client      = @saved_cs_client */;
/*!50001 SET character_set_results     = @saved_cs_results */;
/*!50001 SET collation_connection      = @saved_col_connection */;
/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */;

/*!40101 SET SQL_MODE=@OLD_SQL_MODE */;
/*!40014 SET FOREIGN_KEY_CHECKS=@OLD_FOREIGN_KEY_CHECKS */;
/*!40014 SET UNIQUE_CHECKS=@OLD_UNIQUE_CHECKS */;
/*!40101 SET CHARACTER_SET_CLIENT=@OLD_CHARACTER_SET_CLIENT */;
/*!40101 SET CHARACTER_SET_RESULTS=@OLD_CHARACTER_SET_RESULTS */;
/*!40101 SET COLLATION_CONNECTION=@OLD_COLLATION_CONNECTION */;
/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;

-- Dump completed
