"""The client to depend on: Autos from Python, for threads and for asyncio.

    from proto.client import Client

    with Client("127.0.0.1:50051") as autos:
        job = autos.wait(autos.start("1003579-22.2025.8.26.0564").job.job_id)
        autos.download_to("case", job.job_id)

docs/CLIENT.md tells the rest. `pb` is the contract's messages.
"""

from __future__ import annotations

from proto import downloads_pb2 as pb
from proto.caller.blocking import Client
from proto.caller.connection import Connection
from proto.caller.errors import (
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
from proto.caller.in_loop import AsyncClient
from proto.caller.pulling import Pulled, PulledFile
from proto.caller.resume import JOB_ENDS

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
    "pb",
]
