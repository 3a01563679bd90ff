-- A journal of format 1 (see bus/embedded/format.py). Never edited: a newer format gets a file of its own.
PRAGMA application_id = 1414679370;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE delayed (id INTEGER PRIMARY KEY, due_us INTEGER NOT NULL, exchange TEXT NOT NULL,
    subscription INTEGER, suspect INTEGER NOT NULL, topics TEXT, content_type TEXT, headers TEXT, attempt INTEGER, first_failed_us INTEGER, last_error TEXT, body BLOB);
INSERT INTO "delayed" VALUES(6,1767229200000000,'events',1,0,'["shop.order.placed.eu","shop.order.placed.us"]','application/cloudevents-batch+msgpack','{}',0,NULL,NULL,X'696E20616E20686F7572');
INSERT INTO "delayed" VALUES(7,1767232800000000,'events',NULL,0,'["shop.order.placed.eu","shop.order.placed.us"]','application/cloudevents-batch+msgpack','{}',0,NULL,NULL,X'696E2074776F20686F757273');
CREATE TABLE frame (id INTEGER PRIMARY KEY, routes TEXT NOT NULL, offered TEXT NOT NULL, topics TEXT, content_type TEXT, headers TEXT, attempt INTEGER, first_failed_us INTEGER, last_error TEXT, body BLOB);
INSERT INTO "frame" VALUES(2,',1,',',1,','["shop.order.placed.eu","shop.order.placed.us"]','text/plain','{"cloudEvents:id":"1"}',1,1767225600000000,'out of ink',X'68656C64207477696365');
INSERT INTO "frame" VALUES(3,',1,',',1,','["shop.order.placed.eu","shop.order.placed.us"]','application/cloudevents-batch+msgpack','{}',0,NULL,NULL,X'77616974696E67');
INSERT INTO "frame" VALUES(4,',2,','','["shop.stock.low.eu"]','application/cloudevents-batch+msgpack','{}',0,NULL,NULL,X'6C6F77');
CREATE TABLE held (subscription INTEGER, frame INTEGER, returned INTEGER NOT NULL,
    PRIMARY KEY (subscription, frame)) WITHOUT ROWID;
INSERT INTO "held" VALUES(1,2,2);
CREATE TABLE journal (clean INTEGER NOT NULL);
INSERT INTO "journal" VALUES(1);
CREATE TABLE kept (id INTEGER PRIMARY KEY, kept_at_us INTEGER NOT NULL, topics TEXT, content_type TEXT, headers TEXT, attempt INTEGER, first_failed_us INTEGER, last_error TEXT, body BLOB);
INSERT INTO "kept" VALUES(8,1767225600000000,'["bus.event.parked.billing"]','application/cloudevents-batch+msgpack','{}',0,NULL,NULL,X'6B657074');
CREATE TABLE subscription (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, exchange TEXT NOT NULL,
    mode TEXT NOT NULL, patterns TEXT NOT NULL, read_to INTEGER NOT NULL, mark INTEGER NOT NULL);
INSERT INTO "subscription" VALUES(1,'billing','events','shared','["shop.order.#"]',2,2);
INSERT INTO "subscription" VALUES(2,'stock','events','ordered','["shop.stock.#","shop.*.low.#"]',0,0);
CREATE TABLE suspect (id INTEGER PRIMARY KEY, subscription INTEGER NOT NULL, handed INTEGER NOT NULL,
    returned INTEGER NOT NULL, topics TEXT, content_type TEXT, headers TEXT, attempt INTEGER, first_failed_us INTEGER, last_error TEXT, body BLOB);
INSERT INTO "suspect" VALUES(5,1,0,1,'["shop.order.placed.eu","shop.order.placed.us"]','application/cloudevents-batch+msgpack','{}',0,NULL,NULL,X'612073757370656374');
CREATE INDEX delayed_due ON delayed (due_us, id);
COMMIT;
