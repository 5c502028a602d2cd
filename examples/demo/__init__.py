"""`python -m examples.demo`: see `__main__`."""
