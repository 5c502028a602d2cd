"""From the stream into other systems: the records of changelogs and event topics as rows of PostgreSQL.

    async with asyncio.TaskGroup() as group:
        group.create_task(run(SinkSettings(kafka=…, database=…), stop=stop))

Read in this order: `sink` and `recorder` (the roles), `role` (a process of either), `batch` (read, write,
wait, continue), `mapping` (everything these know about a kind), `postgres` and `statements` (rows and
positions together), `errors` (the meaning of the database's errors), `vanished` (rows that records alone do
not correct). Of kinds, `tables` has the list, `table` makes the rows of a simple one, and clusters have a
package of their own.
"""

from sinks.settings import SinkSettings
from sinks.sink import run

__all__ = ["SinkSettings", "run"]
