-- The eighth expansion of format 1.

-- What lists look for, of 4096 events at a time: of those numbered block * 4096 to block * 4096 + 4095. A row is written
-- once, when all of its events are stored, and again when some of them are removed. It repeats what is in `event`.
CREATE TABLE IF NOT EXISTS event_block (
  block    INTEGER PRIMARY KEY,
  first_at INTEGER NOT NULL,         -- the earliest and latest time of its events
  last_at  INTEGER NOT NULL,
  data     BLOB NOT NULL             -- see format/block.rs
);

-- The same for deliveries.
CREATE TABLE IF NOT EXISTS delivery_block (
  block INTEGER PRIMARY KEY,
  data  BLOB NOT NULL
);

-- Few deliveries are cancelled.
CREATE INDEX IF NOT EXISTS delivery_cancelled ON delivery (state) WHERE state = 5;
