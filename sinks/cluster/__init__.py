"""Clusters in PostgreSQL: the rows of `cluster-state` and `cluster-events`.

Read in this order: `mapping` (what the sink asks of them), `rows` (a record as rows), `statements` (rows into
tables), `names` (rows that the records alone do not put right).
"""
