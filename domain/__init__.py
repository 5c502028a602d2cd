"""The rules, as values and pure functions.

Nothing here knows Kafka, HTTP, a clock or a random number: time arrives on the record, ids on the
command, so a replay decides alike. Only the standard library is imported (import-linter holds it).

Read in this order: `cluster` (the values), `commands`, `events`, `decide` (the rules of one cluster),
`status` (what the reports add up to), `schedule` (when a cluster is reconciled), `believed` (which stored
moments count), `names` (one name an owner).
"""
