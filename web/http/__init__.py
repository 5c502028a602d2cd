"""HTTP itself: the path of every request, whatever it asks for."""
