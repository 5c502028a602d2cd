"""REST on aiohttp: parse, ask a view or submit a command, answer."""
