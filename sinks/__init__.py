"""From the stream into other systems: PostgreSQL rows of what changelogs and event topics say.

    async with asyncio.TaskGroup() as group:
        group.create_task(run(SinkSettings(kafka=…, database=…), stop=stop))

Read in this order: `role` (what runs), `batch` (take, write, wait, go on), `mapping` (all that these know of
a kind), `postgres` and `statements` (rows and positions together), `errors` (what the database's refusals
mean), `vanished` (rows that the records alone do not put right). Of kinds, `tables` has the list, `table`
makes the rows of a simple one, and clusters have a package of their own.
"""

from sinks.role import run
from sinks.settings import SinkSettings

__all__ = ["SinkSettings", "run"]
