"""Clusters at the edge: their reads, writes, status and routes."""
