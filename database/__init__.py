"""How a process reaches PostgreSQL: by one bounded pool, which counts connections and times statements."""

from database.encoding import WrongEncoding, check_encoding
from database.pool import DatabaseSettings, Pool

__all__ = ["DatabaseSettings", "Pool", "WrongEncoding", "check_encoding"]
