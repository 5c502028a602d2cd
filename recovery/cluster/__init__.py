"""Recovery for clusters, which need more than a simple kind: three tables, events, and the names.

Read `check` (the comparison with the topics), then `repair` (rows written again) and `restore` (rows as
records).
"""
