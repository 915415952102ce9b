"""The client of Autos for Python, blocking and for asyncio.

    from autos import Client

    with Client("127.0.0.1:50051") as autos:
        job = autos.wait(autos.start("1003579-22.2025.8.26.0564").job.job_id)
        autos.download_to("case", job.job_id)

docs/reference/python-client.md has the details. `pb` has the contract's messages, `errors` has the
exceptions.

A name is imported at its first use: the server and the workers import only the contract's messages
from this package. They do not need the client, and the workers do not need gRPC.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autos import errors
    from autos._client.async_client import AsyncClient
    from autos._client.connection import Connection
    from autos._client.sync_client import Client
    from autos._client.watching import JOB_ENDS
    from autos.downloads.v1 import downloads_pb2 as pb
    from autos.errors import (
        AutosError,
        InvalidRequest,
        LimitReached,
        NotAllowed,
        NotFound,
        NotPossible,
        PullFailed,
        ServerBug,
        TookTooLong,
        Unavailable,
        WrongSettings,
    )
    from autos.pulled import Pulled, PulledFile

__all__ = [
    "JOB_ENDS",
    "AsyncClient",
    "AutosError",
    "Client",
    "Connection",
    "InvalidRequest",
    "LimitReached",
    "NotAllowed",
    "NotFound",
    "NotPossible",
    "PullFailed",
    "Pulled",
    "PulledFile",
    "ServerBug",
    "TookTooLong",
    "Unavailable",
    "WrongSettings",
    "errors",
    "pb",
]

_HOMES = {
    "JOB_ENDS": "autos._client.watching",
    "AsyncClient": "autos._client.async_client",
    "Client": "autos._client.sync_client",
    "Connection": "autos._client.connection",
    "Pulled": "autos.pulled",
    "PulledFile": "autos.pulled",
}
_MODULES = {"errors": "autos.errors", "pb": "autos.downloads.v1.downloads_pb2"}


def __getattr__(name: str) -> Any:
    """Load a public name at its first use."""
    if name not in __all__:
        raise AttributeError(f"module 'autos' has no attribute {name!r}")
    if name in _MODULES:
        value = import_module(_MODULES[name])
    else:
        value = getattr(import_module(_HOMES.get(name, "autos.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
