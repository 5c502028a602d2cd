"""State: Faust tables kept as bytes, and the views of them that `web` may ask."""
