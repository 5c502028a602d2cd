-- Databases: rest
-- Why: a cluster that is marked deleted only because another one bears its name (sinks/names.py) must be told
-- from one whose record says so, or a living one could stay marked for ever, and nobody would see it.

ALTER TABLE clusters ADD COLUMN yielded boolean NOT NULL DEFAULT false;

-- Those few that get their name back when its holder is deleted.
CREATE INDEX clusters_yielded ON clusters (created_by, name) WHERE yielded;
