-- The fourth expansion of format 1.

-- A delivery's `due_at` stands on a line of time that does not go back when the wall clock is set back: it is ahead of
-- the wall clock by the milliseconds in `meta.due_ahead`, which are none on a machine whose clock was never set back.
DROP VIEW deliveries;
CREATE VIEW deliveries AS
SELECT d.n, d.event, t.text AS target, s.text AS source,
       CASE d.state WHEN 0 THEN 'pending' WHEN 1 THEN 'processing' WHEN 2 THEN 'retrying' WHEN 3 THEN 'processed'
                    WHEN 4 THEN 'dead_letter' WHEN 5 THEN 'cancelled' END AS state,
       d.generation, d.attempts,
       strftime('%Y-%m-%dT%H:%M:%fZ', (d.due_at - ifnull((SELECT value FROM meta WHERE key = 'due_ahead'), 0)) / 1000.0,
                'unixepoch') AS due_at,
       a.outcome AS last_outcome, a.reason AS last_reason, d.order_key
FROM delivery d JOIN name t ON t.n = d.target JOIN name s ON s.n = d.source
LEFT JOIN attempt a ON a.n = d.last_attempt;
