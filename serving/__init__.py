"""What a process with an API is served from: views that follow the stream, and the way to write into it.

It knows no protocol. `web` serves REST from it, `rpc` gRPC.
"""
