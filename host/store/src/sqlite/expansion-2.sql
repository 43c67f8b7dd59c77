-- The second expansion of format 1.

-- What responders answered senders, until nobody is expected to repeat the request any more.
CREATE TABLE IF NOT EXISTS reply (
  event   INTEGER PRIMARY KEY,
  status  INTEGER NOT NULL,
  payload INTEGER NOT NULL,          -- its own row
  until   INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS reply_until ON reply (until);
