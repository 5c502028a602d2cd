"""When Kafka and PostgreSQL differ, or one of them is lost: `verify` compares and repairs, `rebuild` refills.

Read `verify` (what is compared with what, and why nothing has to stand still for it), then `rebuild`. Below
them: `streams.reading.replay` (a topic up to given offsets, and the last record of each key), `snapshot` (the
database at one moment), `differences` (what is found), `repair` (rows written again), `names` (who holds
which name), `restore` (a row as a record).
"""

from recovery.rebuild import Rebuilt, rebuild
from recovery.settings import RecoverySettings
from recovery.verify import Verified, verify

__all__ = ["Rebuilt", "RecoverySettings", "Verified", "rebuild", "verify"]
