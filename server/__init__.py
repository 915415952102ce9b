"""The gRPC server.

gRPC's C core writes to stderr, outside the structured log. It reads GRPC_VERBOSITY when it is
loaded, so this module disables that output before any import of grpc. An operator enables it again
by setting GRPC_VERBOSITY.
"""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")
