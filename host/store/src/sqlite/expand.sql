-- What format 1 has gained since it was first written. Run at every open, and changes nothing where it is there.

-- Deliveries that ran when the host died, until an attempt of theirs has ended.
CREATE TABLE IF NOT EXISTS suspect (
  delivery INTEGER PRIMARY KEY
);
