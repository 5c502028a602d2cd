-- Databases: rest, grpc, worker
-- Why: a topic that was made anew and has grown beyond the stored position looks like the one that was read.
-- Kafka gives each topic an id; a sink that meets another one refuses to go on (sinks/postgres.py).

-- NULL for positions from before this migration: the first sink that finds one takes the present id for it.
ALTER TABLE sink_offsets ADD COLUMN topic_id varchar(255);
