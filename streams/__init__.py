"""What Kafka carries: topics and messages, `cluster` those of clusters; a storey below, how it is carried.

`kafka` knows brokers and topics, `reading` and `writing` are our clients, `turns` is what agents run on, and
`described` says it all to machines.
"""
