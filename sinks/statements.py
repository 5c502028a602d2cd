"""The SQL of positions. Every statement takes all partitions of a batch, one array per column.

No statement of the sink, here or in a mapping, needs a plan for a particular number of rows: each walks over
the arrays and looks up by primary key, so PostgreSQL's generic plans fit. (Custom plans would be made again
for every foreign-key check.)
"""

from typing import Final

# The first statement of the transaction: a writer that no longer owns the partition waits here for the owner.
# Then it finds the position moved, and its transaction is rolled back.
ADVANCE: Final = """
UPDATE sink_offsets AS stored
SET next_offset = moved.next_offset, claim = moved.claim, updated_at = now(),
    read_until = greatest(stored.read_until, CASE
        WHEN moved.read_until IS NOT NULL THEN least(moved.read_until, now()) END)
FROM unnest($2::text[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[], $7::timestamptz[])
    AS moved (topic, partition, expected, next_offset, claim, read_until)
WHERE stored.topic = moved.topic AND stored.partition = moved.partition
  AND stored.next_offset = moved.expected AND stored.kafka_cluster_id = $1
"""

# Limited to our own user and application name, so that it ends only sinks' sessions and needs no other right.
END_FROZEN: Final = """
SELECT count(*) FILTER (WHERE pg_terminate_backend(pid))
FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
  AND application_name = current_setting('application_name')
  AND state = 'active' AND wait_event = 'ClientRead' AND state_change < now() - interval '5 s'
"""

REGISTER: Final = """
INSERT INTO sink_offsets AS stored (topic, partition, kafka_cluster_id, next_offset, read_until, topic_id)
SELECT topic, partition, $1, 0, 'epoch', topic_id
FROM unnest($2::text[], $3::int[], $4::text[]) AS assigned (topic, partition, topic_id)
ON CONFLICT (topic, partition) DO UPDATE SET topic_id = excluded.topic_id
WHERE stored.topic_id IS NULL AND stored.kafka_cluster_id = excluded.kafka_cluster_id
"""

POSITIONS: Final = """
SELECT topic, partition, kafka_cluster_id, topic_id, next_offset, claim, now() - read_until AS age
FROM sink_offsets JOIN unnest($1::text[], $2::int[]) AS assigned (topic, partition) USING (topic, partition)
"""

# For positions at the end of their partitions, before which everything has been read.
TOUCH: Final = """
UPDATE sink_offsets AS stored SET read_until = now()
FROM unnest($2::text[], $3::int[], $4::bigint[]) AS read (topic, partition, next_offset)
WHERE stored.topic = read.topic AND stored.partition = read.partition
  AND stored.next_offset = read.next_offset AND stored.kafka_cluster_id = $1
"""

# After the removal of rows whose tombstones may be gone, see `sinks.vanished`.
RECONCILED: Final = """
UPDATE sink_offsets SET read_until = greatest(read_until, now() - $3::interval)
WHERE topic = $1 AND partition = $2
"""
