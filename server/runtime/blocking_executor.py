"""The interface of the server's thread pool."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol


class RunBlocking(Protocol):
    """Calls a blocking function on a thread of the pool, with the context of the call."""

    def __call__(self, call: Callable[..., Any], *args: Any) -> Awaitable[Any]: ...
