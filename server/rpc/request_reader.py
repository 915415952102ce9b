"""Reading the request of a call, with a deadline: a caller may send a part of it and no more."""

from __future__ import annotations

import asyncio
from typing import Any

from server.errors.error_statuses import LateRequest

# Seconds within which the only message of a call must arrive whole.
READ_S = 10.0


async def read_request(context: Any, *, limit_s: float = READ_S) -> Any:
    """Return the bytes of the request, or EOF. Raises LateRequest."""
    try:
        async with asyncio.timeout(limit_s):
            return await context.read()
    except TimeoutError as error:
        raise LateRequest(limit_s) from error
