"""How fast callers may use a route (operations contract, section 3)."""
