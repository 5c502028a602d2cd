"""State: Faust tables kept as bytes, and the views from which `web` reads."""
