"""Kafka itself: its brokers and how long we wait for them, its topics, and who may do what with them."""
