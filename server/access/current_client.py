"""The client of the present call."""

from __future__ import annotations

from contextvars import ContextVar

from storage.clients.client_registry import DEFAULT_NAME, CallingClient

_NOBODY_ELSE = CallingClient(DEFAULT_NAME)
_caller: ContextVar[CallingClient] = ContextVar("caller", default=_NOBODY_ELSE)


def current_client() -> CallingClient:
    """The client of the present call, in its own task and on the threads that work for it."""
    return _caller.get()


def has_client() -> bool:
    """Return True on behalf of a call, False for work of this process itself."""
    return _caller.get() is not _NOBODY_ELSE


def set_current_client(client: CallingClient) -> None:
    """Names the caller for the rest of the present call: each call has a task of its own."""
    _caller.set(client)
