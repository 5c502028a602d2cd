"""The role `relay`: publishes what other programs have committed in `outbox_events`.

settings     what a relay needs to know
table        the statements on `outbox_events`
lead         which relay of a database is the active one
routes       which record a row becomes
relay        reads, publishes and marks rows, in order
role         the process
"""
