"""Whether a gRPC server says that it serves."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

# A server that is about to listen is asked again at once, and not after gRPC's second.
OPTIONS = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.enable_http_proxy", 0))
TIMEOUT_S = 2.0


def is_serving(address: str) -> bool:
    """Ask the standard health service at `address` (host:port)."""
    with grpc.insecure_channel(address, options=OPTIONS) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
