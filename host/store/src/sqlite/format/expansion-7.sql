-- The seventh expansion of format 1.

-- Acts of operators through the API.
CREATE TABLE IF NOT EXISTS audit (
  n       INTEGER PRIMARY KEY,
  at      INTEGER NOT NULL,
  who     TEXT NOT NULL,             -- the name of a token or a person
  role    TEXT NOT NULL,
  act     TEXT NOT NULL,
  subject TEXT NOT NULL,             -- an id or a name; empty if there is none
  detail  TEXT NOT NULL,             -- JSON, or empty
  outcome TEXT NOT NULL              -- `done`, `refused`, `failed`
);

-- Numbers of a source, a target or the hub, by minute and by hour.
CREATE TABLE IF NOT EXISTS rollup (
  span   INTEGER NOT NULL,           -- seconds: 60 or 3600
  at     INTEGER NOT NULL,           -- the start of the minute or hour
  series INTEGER NOT NULL,           -- a name: `hub`, `source:github`, `handler:orders`, `destination:ops`
  data   BLOB NOT NULL,              -- a version byte, then counts, levels and durations by bucket: each list as its
                                     -- length and numbers, all in LEB128
  PRIMARY KEY (span, at, series)
) WITHOUT ROWID;
