"""When Kafka and PostgreSQL differ, or one of them is lost: `verify` compares and repairs, `rebuild` refills.

Read `verify` (what is compared with what, and why nothing has to stand still for it), then `rebuild`. Below
them: `streams.reading.replay` (a topic up to given offsets, and the last record of each key), `snapshot` (the
database at one moment), `look` (one comparison), `differences` (what is found), `repair` (rows written
again). Of kinds, `table` does all of it for one that is a single table, and `cluster` for clusters.
"""

from recovery.differences import Verified
from recovery.rebuild import Rebuilt, rebuild
from recovery.settings import RecoverySettings
from recovery.verify import verify

__all__ = ["Rebuilt", "RecoverySettings", "Verified", "rebuild", "verify"]
