"""The health check of a gRPC server."""

from __future__ import annotations

import socket
import ssl

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

# With these options a refused connection is tried again at once, not after gRPC's default second.
OPTIONS = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.enable_http_proxy", 0))
TIMEOUT_S = 2.0


def is_serving(address: str, *, is_tls: bool = False) -> bool:
    """Return True if the standard health service at `address` (host:port) reports SERVING.

    With TLS only the handshake is checked: the server's name and its client CA are unknown here.
    """
    if is_tls:
        return _shakes_hands(address)
    with grpc.insecure_channel(address, options=OPTIONS) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _shakes_hands(address: str) -> bool:
    host, _, port = address.rpartition(":")
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname = False
    anybody.verify_mode = ssl.CERT_NONE
    anybody.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), TIMEOUT_S) as connection,
            anybody.wrap_socket(connection),
        ):
            return True
    except OSError:  # includes the errors of ssl
        return False
