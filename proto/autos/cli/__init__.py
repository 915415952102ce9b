"""The command `autos`: what people and scripts call Autos with."""

import os

# Before gRPC is imported: it would write to standard error what is told in a sentence anyway.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
