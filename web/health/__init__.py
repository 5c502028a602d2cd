"""How this process is, and what is asked of it without an identity."""
