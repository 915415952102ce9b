"""Receive the halts of other processes, so that this one stops before its next lease renewal."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import redis
import structlog

from actors.hints.hint_channel import QUIET_S, halt_channel

# Seconds after which a silent connection is pinged. If it stays silent, it is replaced.
SILENT_S = 5.0

log: structlog.stdlib.BoundLogger = structlog.get_logger()


class HaltListener:
    """Call `on_halt` with each scope that another sender than `sender_id` has halted.

    If Valkey is unavailable, slices stop only at the renewal of their leases.
    """

    def __init__(self, client: redis.Redis, sender_id: str, on_halt: Callable[[str], None]) -> None:
        self._client = client
        self._sender_id = sender_id
        self._on_halt = on_halt
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="halt-listener", daemon=True)

    def start(self) -> None:
        """Listen in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread once its connection was silent for SILENT_S, or has a message."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._listen()
            except redis.RedisError as error:
                log.debug("no halts received", error=type(error).__name__)
            except Exception:
                log.exception("halts not received")
            self._stopping.wait(QUIET_S)

    def _listen(self) -> None:
        with self._client.pubsub() as subscription:
            subscription.subscribe(halt_channel(self._client))
            is_pinged = False
            while not self._stopping.is_set():
                message = subscription.get_message(timeout=SILENT_S)
                if message is not None:
                    self._receive(message)
                elif is_pinged:
                    raise redis.ConnectionError("The ping is not answered.")
                else:
                    subscription.ping()
                is_pinged = message is None

    def _receive(self, message: dict[str, Any]) -> None:
        if message["type"] != "message":
            return
        sender_id, _, scope = message["data"].decode().partition(" ")
        if sender_id != self._sender_id:
            self._on_halt(scope)
