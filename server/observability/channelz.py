"""channelz: gRPC's own statistics of this process's connections and streams, for debugging.

They contain the addresses of callers, so the service is off unless a setting enables it.
"""

from __future__ import annotations

import grpc
from grpc_channelz.v1 import channelz, channelz_pb2

SERVICE = channelz_pb2.DESCRIPTOR.services_by_name["Channelz"].full_name


def add_channelz(server: grpc.aio.Server) -> str:
    """Add the service to `server`. Return its name, for reflection."""
    channelz.add_channelz_servicer(server)
    return str(SERVICE)
