"""The embedded Kafka: one `node`, or several as one cluster (`brokers`), on `jars` that Maven brings."""

from deploy.embedded.kafka.node import Kafka, live_brokers

__all__ = ["Kafka", "live_brokers"]
