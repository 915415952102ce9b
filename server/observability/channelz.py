"""channelz: what gRPC itself knows of this process's connections and streams, for who looks deep.

It names the addresses of callers, so it is off unless asked for.
"""

from __future__ import annotations

import grpc
from grpc_channelz.v1 import channelz, channelz_pb2

SERVICE = channelz_pb2.DESCRIPTOR.services_by_name["Channelz"].full_name


def add_channelz(server: grpc.aio.Server) -> str:
    """Adds the service; its name, for reflection."""
    channelz.add_channelz_servicer(server)
    return str(SERVICE)
