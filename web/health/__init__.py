"""The health of this process, and the routes that need no identity."""
