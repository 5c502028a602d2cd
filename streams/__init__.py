"""What Kafka carries and how it is carried: topics, messages, producers, tails, and the batch transport."""
