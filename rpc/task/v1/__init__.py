"""Version 1 of the service, and what is generated from it by `python -m rpc.generate`."""
