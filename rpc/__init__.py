"""gRPC on grpcio: read a message, ask a view or submit a command, answer with a message."""
