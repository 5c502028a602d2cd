"""The role `executor`: does the work that entities of some kinds are, by handlers of users.

It keeps no table. A piece of work comes from the queue of its kind, is claimed by a command, and ends by one
(`domain/work.py`). `handlers` finds the code, `commander` speaks with the owners of the work, `queue` keeps
the order of keys and knows which records are settled, `executor` brings them together, `role` is the process.
"""
