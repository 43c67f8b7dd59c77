-- The ninth expansion of format 1.

-- What a run was told of its handler's state, and wrote to it, so that the run can be repeated. Only of runs that read.
CREATE TABLE IF NOT EXISTS attempt_reads (
  attempt INTEGER PRIMARY KEY,
  data    BLOB,                      -- JSON; none if it was too large to be kept
  packed  INTEGER,                   -- bytes of the JSON when `data` is an LZ4 block; none if it is as it is
  size    INTEGER NOT NULL           -- bytes of the JSON
);

-- Runs before this attempt read without a record.
INSERT OR IGNORE INTO meta (key, value) SELECT 'reads_from', ifnull(max(n), 0) + 1 FROM attempt;
