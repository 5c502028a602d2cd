"""Faults on purpose: real processes, a mixed load, a seeded plan of faults, and a check of all there is.

In the order of a run: `plan` says which faults, `fleet` starts roles behind the `links` that can be cut,
`clients` and `native` write and note in `history` what they were told, `faults` do harm, `observe` reads all
there is to see once everything is quiet, `check` and `order` judge. `run` ties them together.
"""
