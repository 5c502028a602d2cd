"""When Kafka and PostgreSQL differ, or one of them is lost: `verify` compares and repairs, `rebuild` refills.

Read `verify` (the comparison, and why nothing has to stop for it), then `rebuild`. They use
`streams.reading.replay` (a topic up to given offsets, and the last record of each key), `snapshot` (the
database at one moment), `look` (one comparison), `differences` (its findings), and `repair` (rows written
again). Of kinds, `table` does everything for a kind that is a single table, and `cluster` for clusters.
"""

from recovery.differences import Verified
from recovery.rebuild import Rebuilt, rebuild
from recovery.settings import RecoverySettings
from recovery.verify import verify

__all__ = ["Rebuilt", "RecoverySettings", "Verified", "rebuild", "verify"]
