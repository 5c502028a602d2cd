"""How a process reaches PostgreSQL: by one bounded pool, which counts connections and times statements."""

from database.encoding import WrongEncoding, check_encoding
from database.pool import DatabaseSettings, Pool
from database.pooler import Pooler, pooler_reason

__all__ = ["DatabaseSettings", "Pool", "Pooler", "WrongEncoding", "check_encoding", "pooler_reason"]
