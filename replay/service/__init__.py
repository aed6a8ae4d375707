"""The store contract and the client's calls on the wire: gRPC server, ``grpc://`` store, and what stands between."""
