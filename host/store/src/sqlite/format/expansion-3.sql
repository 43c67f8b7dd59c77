-- The third expansion of format 1.

-- Position of a delivery in its order key: the number that was next when it was replayed, so that it is behind all
-- that were stored then. None is its own number.
ALTER TABLE delivery ADD COLUMN turn INTEGER;

-- The head of a line is the first of its key in here.
DROP INDEX delivery_ordered;
CREATE INDEX delivery_ordered ON delivery (target, order_key, ifnull(turn, n))
  WHERE order_key IS NOT NULL AND state IN (0, 2);
