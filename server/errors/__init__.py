"""The one table from errors to gRPC statuses and their details."""
