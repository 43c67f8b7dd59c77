-- Weir's store, format 1. A released format: columns are added, never changed or reused.
--
-- Read it with any SQLite tool, also while weir runs; the views at the end put names and words in place of
-- numbers. Write to it only through weir.
--
-- Conventions
--   n           the row's number, given out in order of commits. A public id (`evt_…`) is made of the row's time,
--               its number and a secret in `meta`, and is not stored: `weir events --json` prints both.
--   …_at        milliseconds since 1970-01-01 UTC
--   source, target, scheme, secret, version
--               numbers of rows in `name`
--   first_x, xs consecutive rows of table x: `xs` of them from number `first_x` on
-- New rows of every table on the way of an event are put at the table's end, and none of those tables has an
-- index that every event would have to enter: that is what makes storing one cheap.

-- One row per fact about the store itself.
CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value NOT NULL
) WITHOUT ROWID;

-- Words that many rows share. Targets read `handler:orders` or `destination:ops`, versions are SHA-256 in hex.
CREATE TABLE name (
  n    INTEGER PRIMARY KEY,
  text TEXT NOT NULL UNIQUE
);

-- Routing tables that events refer to.
CREATE TABLE routing (
  n       INTEGER PRIMARY KEY,
  hash    BLOB NOT NULL UNIQUE,      -- 16 bytes
  made_at INTEGER NOT NULL,
  text    TEXT NOT NULL              -- one line a pattern: `github:push -> handler:orders`
);

-- Zstandard dictionaries. A row stays as long as a payload needs it.
CREATE TABLE dictionary (
  n       INTEGER PRIMARY KEY,
  source  INTEGER NOT NULL,
  made_at INTEGER NOT NULL,
  data    BLOB NOT NULL
);

-- Headers and body together, packed. Unpacked: a version byte, the number of headers, each name and value with its
-- length, then the body; lengths are LEB128. Each row has one owner: a request, an event or a message.
CREATE TABLE payload (
  n          INTEGER PRIMARY KEY,
  codec      INTEGER NOT NULL,       -- 0 as it is, 1 LZ4 block, 2 Zstandard with `dictionary`
  dictionary INTEGER,
  size       INTEGER NOT NULL,       -- bytes when unpacked
  data       BLOB NOT NULL
);

-- What arrived and was verified.
CREATE TABLE request (
  n           INTEGER PRIMARY KEY,
  received_at INTEGER NOT NULL,
  source      INTEGER NOT NULL,
  scheme      INTEGER NOT NULL,      -- the verification scheme that let it in
  secret      INTEGER NOT NULL,      -- the name of the secret that verified it
  remote      BLOB,                  -- the sender's address, 4 or 16 bytes
  payload     INTEGER NOT NULL,
  first_event INTEGER,
  events      INTEGER NOT NULL
);
CREATE INDEX request_without_events ON request (received_at) WHERE events = 0;

-- One thing that happened: carried by a request, or emitted by a handler.
CREATE TABLE event (
  n              INTEGER PRIMARY KEY,
  at             INTEGER NOT NULL,   -- when it was received or emitted
  request        INTEGER,            -- none if a handler emitted it
  source         INTEGER NOT NULL,
  type           TEXT NOT NULL,
  category       TEXT,
  delivery_id    TEXT,               -- the sender's id for it
  key            BLOB,               -- 16 bytes: what a duplicate is recognised by
  body_tag       INTEGER,            -- part of the key's meaning, see `id_reused`
  id_reused      INTEGER,            -- 1 if the sender used the id before, for another body
  payload        INTEGER NOT NULL,   -- the request's own if the event is the whole of it
  size           INTEGER NOT NULL,   -- bytes of headers and body
  routing        INTEGER NOT NULL,
  first_delivery INTEGER,
  deliveries     INTEGER NOT NULL,   -- 0: unrouted
  outward        BLOB,               -- from here on only for emitted events: the id that handlers and receivers see
  root           BLOB,               -- the id of the first event of the line
  parent         BLOB,               -- the id of the event whose handler emitted this one
  depth          INTEGER,            -- emits between root and this one
  cause          INTEGER             -- the attempt that emitted it
);
CREATE INDEX event_outward ON event (outward) WHERE outward IS NOT NULL;

-- The unit of retry.
CREATE TABLE delivery (
  n            INTEGER PRIMARY KEY,
  event        INTEGER NOT NULL,     -- the event it is of; for a message the event that was handled
  target       INTEGER NOT NULL,
  source       INTEGER NOT NULL,     -- the event's source; for a message `@` and the handler that sent it
  state        INTEGER NOT NULL,     -- 0 pending, 2 retrying, 3 processed, 4 dead_letter, 5 cancelled
  generation   INTEGER NOT NULL,     -- how often it was replayed
  attempts     INTEGER NOT NULL,     -- in this generation
  due_at       INTEGER,              -- while it waits: when it is due; none is at once, and never waited
  last_attempt INTEGER,              -- its newest attempt, of any generation
  order_key    TEXT,                 -- one at a time per target and key
  cause        INTEGER,              -- from here on only for messages: the attempt that sent it
  message      BLOB,                 -- its outward id
  payload      INTEGER,              -- what it says; none for a forwarded event
  headers      INTEGER,              -- a payload with the headers that were added to a forwarded event
  keyed        INTEGER               -- the handler's key that it waits under (also for what was emitted)
);
CREATE INDEX delivery_due ON delivery (target, source, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX delivery_dead ON delivery (target, source) WHERE state = 4;
CREATE INDEX delivery_ordered ON delivery (target, order_key) WHERE order_key IS NOT NULL AND state IN (0, 2);

-- One try of a delivery.
CREATE TABLE attempt (
  n             INTEGER PRIMARY KEY,
  delivery      INTEGER NOT NULL,
  previous      INTEGER,             -- the attempt of this delivery before it
  generation    INTEGER NOT NULL,
  number        INTEGER NOT NULL,    -- from 1 in each generation
  started_at    INTEGER NOT NULL,
  duration_us   INTEGER NOT NULL,
  outcome       TEXT NOT NULL,
  reason        TEXT,
  version       INTEGER,             -- the hash of the module that ran
  log           BLOB,                -- text, a line a line
  log_size      INTEGER,             -- bytes of the log when it is packed as an LZ4 block; none if it is as it is
  status        INTEGER,             -- what the endpoint answered
  snippet       TEXT,
  first_message INTEGER,             -- deliveries that it made by sending
  messages      INTEGER,
  first_event   INTEGER,             -- events that it emitted
  events        INTEGER
);

-- Handlers' own state.
CREATE TABLE state (
  handler    INTEGER NOT NULL,       -- a name of the form `handler:orders`
  key        TEXT NOT NULL,
  value      TEXT NOT NULL,
  version    INTEGER NOT NULL,       -- rises with each write in this table
  expires_at INTEGER,
  PRIMARY KEY (handler, key)
) WITHOUT ROWID;
CREATE INDEX state_expiry ON state (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE state_size (
  handler INTEGER PRIMARY KEY,
  bytes   INTEGER NOT NULL           -- of keys and values
);

-- What handlers have waiting under keys of theirs, and cancellations made ahead.
CREATE TABLE keyed (
  n              INTEGER PRIMARY KEY,
  handler        INTEGER NOT NULL,
  key            TEXT NOT NULL,
  first_delivery INTEGER,
  deliveries     INTEGER NOT NULL,
  until          INTEGER,            -- what is put under the key before this is dropped
  UNIQUE (handler, key)
);
CREATE INDEX keyed_until ON keyed (until) WHERE until IS NOT NULL;

-- Older dedup keys, in runs written once in the order of keys and dropped whole. The newest are only in `event`.
CREATE TABLE key_run (
  run  INTEGER NOT NULL,
  key  BLOB NOT NULL,
  event INTEGER NOT NULL,
  at   INTEGER NOT NULL,             -- the event's
  body_tag INTEGER NOT NULL,
  PRIMARY KEY (run, key)
) WITHOUT ROWID;

-- Finished runs. Rows of `key_run` without one here are left-overs.
CREATE TABLE key_run_info (
  run       INTEGER PRIMARY KEY,
  keys      INTEGER NOT NULL,
  newest_at INTEGER NOT NULL,
  bloom     BLOB NOT NULL            -- 16 bits a key; says "not in this run" without a look
);

-- Everything small that is not an event, by kind and key.
CREATE TABLE registry (
  n          INTEGER PRIMARY KEY,
  kind       TEXT NOT NULL,
  key        TEXT NOT NULL,
  version    INTEGER NOT NULL,       -- rises with each write in this table
  written_at INTEGER NOT NULL,
  value      BLOB NOT NULL,
  UNIQUE (kind, key)
);

-- Deliveries that these cover are not claimed.
CREATE TABLE hold (
  n         INTEGER PRIMARY KEY,
  scope     TEXT NOT NULL,           -- `source:github`, `handler:orders`, `destination:ops`
  reason    TEXT NOT NULL,
  placed_by TEXT NOT NULL,
  placed_at INTEGER NOT NULL,
  until     INTEGER
);

-- Redrives by the name that makes them one.
CREATE TABLE redrive (
  request    TEXT PRIMARY KEY,
  at         INTEGER NOT NULL,
  deliveries BLOB NOT NULL,          -- numbers of deliveries, 8 bytes each, least byte first
  more       INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX redrive_at ON redrive (at);

-- Totals since the store was made, of events below `meta.counted_below`.
CREATE TABLE total (
  source INTEGER NOT NULL,
  what   TEXT NOT NULL,              -- `stored`, `duplicate`, `unrouted`
  count  INTEGER NOT NULL,
  PRIMARY KEY (source, what)
) WITHOUT ROWID;

CREATE VIEW events AS
SELECT e.n, strftime('%Y-%m-%dT%H:%M:%fZ', e.at / 1000.0, 'unixepoch') AS at, s.text AS source, e.type,
       e.category, e.delivery_id, e.size,
       CASE WHEN e.deliveries = 0 THEN 'unrouted' ELSE (
         SELECT CASE max(CASE d.state WHEN 4 THEN 4 WHEN 2 THEN 3 WHEN 1 THEN 2 WHEN 0 THEN 1 ELSE 0 END)
                WHEN 4 THEN 'dead_letter' WHEN 3 THEN 'retrying' WHEN 2 THEN 'processing' WHEN 1 THEN 'pending'
                ELSE 'processed' END
         FROM delivery d WHERE d.n >= e.first_delivery AND d.n < e.first_delivery + e.deliveries) END AS status,
       e.request, e.first_delivery, e.deliveries
FROM event e JOIN name s ON s.n = e.source;

CREATE VIEW deliveries AS
SELECT d.n, d.event, t.text AS target, s.text AS source,
       CASE d.state WHEN 0 THEN 'pending' WHEN 1 THEN 'processing' WHEN 2 THEN 'retrying' WHEN 3 THEN 'processed'
                    WHEN 4 THEN 'dead_letter' WHEN 5 THEN 'cancelled' END AS state,
       d.generation, d.attempts, strftime('%Y-%m-%dT%H:%M:%fZ', d.due_at / 1000.0, 'unixepoch') AS due_at,
       a.outcome AS last_outcome, a.reason AS last_reason, d.order_key
FROM delivery d JOIN name t ON t.n = d.target JOIN name s ON s.n = d.source
LEFT JOIN attempt a ON a.n = d.last_attempt;

CREATE VIEW attempts AS
SELECT a.n, a.delivery, a.generation, a.number,
       strftime('%Y-%m-%dT%H:%M:%fZ', a.started_at / 1000.0, 'unixepoch') AS started_at,
       a.duration_us / 1000.0 AS duration_ms, a.outcome, a.reason, v.text AS version, a.status, a.snippet,
       CASE WHEN a.log_size IS NULL THEN CAST(a.log AS TEXT) ELSE '(packed)' END AS log
FROM attempt a LEFT JOIN name v ON v.n = a.version;

CREATE VIEW requests AS
SELECT r.n, strftime('%Y-%m-%dT%H:%M:%fZ', r.received_at / 1000.0, 'unixepoch') AS received_at,
       s.text AS source, c.text AS scheme, k.text AS secret, r.first_event, r.events
FROM request r JOIN name s ON s.n = r.source JOIN name c ON c.n = r.scheme JOIN name k ON k.n = r.secret;

CREATE VIEW handler_state AS
SELECT h.text AS handler, s.key, s.value, s.version,
       strftime('%Y-%m-%dT%H:%M:%fZ', s.expires_at / 1000.0, 'unixepoch') AS expires_at
FROM state s JOIN name h ON h.n = s.handler;
