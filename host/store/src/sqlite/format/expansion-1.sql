-- The first expansion of format 1. Columns are null, and tables empty, until something needs them.

-- Deliveries that ran when the hub died, until an attempt of theirs has ended.
CREATE TABLE IF NOT EXISTS suspect (
  delivery INTEGER PRIMARY KEY
);

-- Rises when a replay asks for new outward ids; part of the hash that makes them.
ALTER TABLE delivery ADD COLUMN id_round INTEGER;

-- 1 for a delivery that a replay made, which lies outside of its event's `first_delivery` and `deliveries`.
ALTER TABLE delivery ADD COLUMN added INTEGER;
CREATE INDEX delivery_added ON delivery (event) WHERE added IS NOT NULL;

-- Events that were emitted in the line that begins with this one, since it came or an operator last set it going.
ALTER TABLE event ADD COLUMN descendants INTEGER;

-- Only what matched nothing is in here, each at the end of its source's part.
CREATE INDEX event_unrouted ON event (source) WHERE deliveries = 0;

DROP VIEW events;
CREATE VIEW events AS
SELECT e.n, strftime('%Y-%m-%dT%H:%M:%fZ', e.at / 1000.0, 'unixepoch') AS at, s.text AS source, e.type,
       e.category, e.delivery_id, e.size,
       CASE WHEN e.deliveries = 0 THEN 'unrouted' ELSE (
         SELECT CASE max(CASE d.state WHEN 4 THEN 4 WHEN 2 THEN 3 WHEN 1 THEN 2 WHEN 0 THEN 1 ELSE 0 END)
                WHEN 4 THEN 'dead_letter' WHEN 3 THEN 'retrying' WHEN 2 THEN 'processing' WHEN 1 THEN 'pending'
                ELSE 'processed' END
         FROM delivery d WHERE (d.n >= e.first_delivery AND d.n < e.first_delivery + e.deliveries)
                            OR (d.event = e.n AND d.added IS NOT NULL)) END AS status,
       e.request, e.first_delivery, e.deliveries
FROM event e JOIN name s ON s.n = e.source;
