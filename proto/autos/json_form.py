"""The JSON form of the contract's messages, in the command's output and in webhooks."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message


def as_json(message: Message) -> dict[str, Any]:
    """Return the message as a dict with the contract's field names; unset fields are left out."""
    return MessageToDict(message, preserving_proto_field_name=True)
