"""The embedded stack: Kafka, PostgreSQL and Valkey as child processes, for `make run`, tests and benchmarks.

    with Stack(Path(".run")) as stack:
        stack.kafka.bootstrap_servers, stack.postgres.url, stack.valkey.url

Real servers instead of fakes, because what Clusterflow has to get right (acknowledgement, rebalance,
recovery) lives in them; child processes instead of containers, because a fresh machine has Python and no
Docker. Read in this order: `stack` (the whole), `server` (the life of one server), `process` and `guard`
(child processes that never outlive us), `private` (what nobody else may read), then `kafka`, `postgres` and
`valkey`.
"""

from deploy.embedded.errors import EmbeddedError
from deploy.embedded.stack import Stack

__all__ = ["EmbeddedError", "Stack"]
