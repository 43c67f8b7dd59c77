-- The second expansion of format 1.

-- Answers of responders, kept in case a sender repeats its request.
CREATE TABLE IF NOT EXISTS reply (
  event   INTEGER PRIMARY KEY,
  status  INTEGER NOT NULL,
  payload INTEGER NOT NULL,          -- its own row
  until   INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS reply_until ON reply (until);
