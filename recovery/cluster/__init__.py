"""What recovery does for clusters beyond a simple kind: three tables, events, and names that change hands.

Read `check` (compared with the topics), then `repair` (rows written again) and `restore` (rows as records).
"""
