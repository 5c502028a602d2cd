"""HTTP itself: what every request goes through, whatever it asks for."""
