"""Clusters and their names on Kafka: topics, messages, and what is announced."""
