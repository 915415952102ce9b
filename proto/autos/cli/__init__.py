"""The command `autos`, for people and scripts."""

import os

# Set before gRPC is imported: gRPC would write errors to stderr that the command reports itself.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
