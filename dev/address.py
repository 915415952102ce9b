"""The address on which the gRPC server listens, and the address for its callers."""

from __future__ import annotations

from dev.folder import DataFolder, is_free
from storage.errors import ConfigurationError

DEFAULT_LISTEN = "127.0.0.1:50051"
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104


def free_listen_address(listen: str, folder: DataFolder) -> str:
    """Return `listen` (host:port; if empty: the default). Port 0: a port that `folder` keeps.

    Raises ConfigurationError if the port is in use.
    """
    host, _, port = (listen or DEFAULT_LISTEN).rpartition(":")
    if port == "0":
        port = str(folder.ports("grpc", ("grpc",))["grpc"])
    if not is_free(host.strip("[]"), int(port)):
        raise ConfigurationError(
            f"GRPC_LISTEN: port {port} on {host} is in use; "
            "stop what uses it or set GRPC_LISTEN to another one."
        )
    return f"{host}:{port}"


def client_address(listen: str) -> str:
    """Return the address of a server on this machine that listens on `listen`."""
    host, _, port = listen.rpartition(":")
    return f"{EVERYWHERE.get(host, host)}:{port}"
