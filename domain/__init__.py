"""The rules, as values and pure functions.

Nothing here knows Kafka, HTTP, a clock or a random number: time comes from the record and ids from the
command, so a replay decides the same. Only the standard library is imported (import-linter checks it).

Read in this order: `cluster` (the values), `commands`, `events`, `decide` (the rules of one cluster),
`status` (derived from the reports), `schedule` (when a cluster is reconciled), `believed` (which stored
moments count), `names` (unique names per owner).
"""
