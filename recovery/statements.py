"""The SQL of recovery for all kinds; pages of rows are passed as one array per column, as in the sink."""

from typing import Final

POSITIONS: Final = """
SELECT topic, partition, kafka_cluster_id, next_offset, topic_id FROM sink_offsets ORDER BY topic, partition
"""

WIDTHS: Final = """
SELECT relname::text, attname::text, atttypmod - 4  -- a varchar's modifier is its width and 4
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
WHERE attrelid = ANY($1::text[]::regclass[]) AND atttypid = 'varchar'::regtype AND atttypmod > 4
"""

# --- rebuild ---------------------------------------------------------------------------------------

# The time up to which the sink has read everything, of the partition where it is the earliest among those of
# some topics ($1), under any prefix.
OLDEST_READ: Final = """
SELECT min(read_until) AS until, now() - min(read_until) AS age FROM sink_offsets
WHERE EXISTS (SELECT FROM unnest($1::text[]) AS name WHERE right(topic, length(name)) = name)
"""

# Waits for the transaction of a sink, and lets no other begin before ours is over.
LOCK_POSITIONS: Final = "LOCK TABLE sink_offsets IN SHARE ROW EXCLUSIVE MODE"

FORGET_POSITIONS: Final = "DELETE FROM sink_offsets"
