"""Whether a gRPC server says that it serves."""

from __future__ import annotations

import socket
import ssl

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

# A server that is about to listen is asked again at once, and not after gRPC's second.
OPTIONS = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.enable_http_proxy", 0))
TIMEOUT_S = 2.0


def is_serving(address: str, *, is_tls: bool = False) -> bool:
    """Ask the standard health service at `address` (host:port).

    With TLS the handshake must do: for what name its certificate is, and which it asks for, is its
    owner's affair.
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
    except OSError:  # ssl's errors too
        return False
