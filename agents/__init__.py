"""The stream processors: each takes turns over its input and is the only writer of its table."""
