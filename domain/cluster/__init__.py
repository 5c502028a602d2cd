"""Clusters and their names: what is known of them, what may be asked, and what follows from it."""
