-- The sixth expansion of format 1.

-- Routing decisions of an event, as text in the router's own format; none where there are none to tell.
ALTER TABLE event ADD COLUMN decisions TEXT;
