-- The fifth expansion of format 1.

-- A hash of the unpacked bytes and the row's number; none for a row that is older than this column.
ALTER TABLE payload ADD COLUMN sum INTEGER;

-- Rows that had been acknowledged and were missing at a start: gaps in the numbers of a table.
CREATE TABLE IF NOT EXISTS lost (
  n        INTEGER PRIMARY KEY,
  what     TEXT NOT NULL,            -- `request`, `event`, `delivery`, `attempt`, `registry`
  first    INTEGER NOT NULL,
  last     INTEGER NOT NULL,
  found_at INTEGER NOT NULL
);
