-- The tenth expansion of format 1.

-- The run under another version of the handler in the same attempt, during a probation: its version, outcome and reason.
ALTER TABLE attempt ADD COLUMN other_version INTEGER;
ALTER TABLE attempt ADD COLUMN other_outcome TEXT;
ALTER TABLE attempt ADD COLUMN other_reason TEXT;

-- Keys of a handler's state, for its quota.
ALTER TABLE state_size ADD COLUMN keys INTEGER NOT NULL DEFAULT 0;
UPDATE state_size SET keys = (SELECT count(*) FROM state WHERE state.handler = state_size.handler);
