"""Rows, the pipeline, a gRPC server and certificates that integration tests share."""
