"""The SQL of positions. Every statement takes all partitions of a batch, one array per column.

No statement of the sink, here or of a mapping, depends on a plan that knows how many rows come: each walks
the arrays and looks up by primary key, so PostgreSQL's generic plans fit. (Forcing custom plans would make
every foreign-key check plan anew.)
"""

from typing import Final

# First in the transaction: a writer that no longer owns the partition waits here for the one that does, then
# finds the position moved, and everything it brought is rolled back.
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

# Limited to our own user and application name: these are sinks' sessions, and no other right is needed.
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

# Positions that are at the end of their partitions: nothing is left that was written before.
TOUCH: Final = """
UPDATE sink_offsets AS stored SET read_until = now()
FROM unnest($2::text[], $3::int[], $4::bigint[]) AS read (topic, partition, next_offset)
WHERE stored.topic = read.topic AND stored.partition = read.partition
  AND stored.next_offset = read.next_offset AND stored.kafka_cluster_id = $1
"""

# After rows were removed whose tombstones may be gone, see `sinks.vanished`.
RECONCILED: Final = """
UPDATE sink_offsets SET read_until = greatest(read_until, now() - $3::interval)
WHERE topic = $1 AND partition = $2
"""
