"""Clusters and their names: their state, their commands, and the rules."""
