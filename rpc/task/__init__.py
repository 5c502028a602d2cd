"""Tasks over gRPC (resources contract, section 3)."""
