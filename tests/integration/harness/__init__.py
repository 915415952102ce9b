"""What integration tests share: rows, the pipeline, a gRPC server, certificates."""
