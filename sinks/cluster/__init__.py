"""Clusters in PostgreSQL: the rows of `cluster-state` and `cluster-events`.

Read in this order: `mapping` (their interface to the sink), `rows` (a record as rows), `statements` (rows
into tables), `names` (rows that records alone do not correct).
"""
