-- The eleventh expansion of format 1.

-- Business keys of events, such as the number of an order, by which they are looked up. Only of sources that name some.
CREATE TABLE IF NOT EXISTS event_key (
  event INTEGER NOT NULL,
  name  INTEGER NOT NULL,            -- a name of the form `key:order`
  value TEXT NOT NULL,
  PRIMARY KEY (event, name)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS event_key_value ON event_key (name, value, event);

-- The time at which the contents of an event were erased.
ALTER TABLE event ADD COLUMN erased_at INTEGER;
