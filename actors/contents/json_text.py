"""Read the JSON of other systems, which repeat names and put line breaks in texts. Pure."""

from __future__ import annotations

import json
from typing import Any


def read_json(text: str) -> object:
    """Return the value of a JSON text. Raises ValueError or RecursionError.

    Of a name that an object has several times, json.loads keeps the last value only. Here the lists
    and objects under such a name become one list, so no document is lost.
    """
    decoded: object = json.loads(text, strict=False, object_pairs_hook=_united)
    return decoded


def _united(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    united = dict(pairs)
    if len(united) == len(pairs):
        return united
    values: dict[str, list[Any]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return {name: _one(each) for name, each in values.items()}


def _one(values: list[Any]) -> Any:
    """Return the value of a name: the last one, or all elements of several lists and objects."""
    filled = [value for value in values if isinstance(value, list | dict) and value]
    if not filled:
        return values[-1]
    if all(value == filled[0] for value in filled):
        return filled[0]
    return [one for value in filled for one in (value if isinstance(value, list) else [value])]
