"""The wire. gRPC's C part would write past our log, so it is told to be quiet before it is loaded:
it reads the variable then. Whoever sets it hears what it says.
"""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")
