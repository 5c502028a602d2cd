"""From the stream into other systems: PostgreSQL rows of what `cluster-state` and `cluster-events` say.

    async with asyncio.TaskGroup() as group:
        group.create_task(run(SinkSettings(kafka=…, database=…), stop=stop))

Read in this order: `role` (what runs), `batch` (take, write, wait, go on), `rows` (a record as rows),
`postgres` and `statements` (rows into tables), `errors` (what the database's refusals mean), `names` and
`vanished` (rows that the records alone do not put right).
"""

from sinks.role import run
from sinks.settings import SinkSettings

__all__ = ["SinkSettings", "run"]
