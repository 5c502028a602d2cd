"""The command line: roles, one-shot commands, and `all` for development."""
