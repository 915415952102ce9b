"""Whether a message has the form of Dramatiq's own, without which its thread would end.

Any program that writes to the same Valkey may leave a message in a queue. The arguments need no
check here: an actor that fails costs its thread nothing.
"""

from __future__ import annotations

from typing import Any

import dramatiq


def misfit(message: dramatiq.Message[None], queue_name: str) -> str:
    """Return why a message of this queue cannot be processed; empty if it can."""
    # Only decoded, so each field may be anything.
    given: Any = message
    options = given.options
    if given.queue_name != queue_name:
        return "it names another queue"
    if not stored_id(message):
        return "it has no id of Valkey"
    if not isinstance(given.message_id, str) or not isinstance(given.actor_name, str):
        return "its ids are no texts"
    if not isinstance(given.kwargs, dict):
        return "its arguments are none"
    # Dramatiq compares it with the time, and sorts the delayed messages by it.
    if "eta" in options and not (type(options["eta"]) is int and options["eta"] >= 0):
        return "its time is no number"
    return ""


def stored_id(message: dramatiq.Message[None]) -> str:
    """Return the id under which Valkey has a message, empty if the message lacks it."""
    options: object = message.options
    found = options.get("redis_message_id") if isinstance(options, dict) else None
    return found if isinstance(found, str) else ""
