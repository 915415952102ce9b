"""Check: no process met a bug of its own, which is what it logs with a traceback."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

MOST_TOLD = 5


def check(lines: Sequence[str]) -> Iterator[str]:
    """What the processes said that they should not have had to say."""
    told = [line for line in map(_bug, lines) if line]
    yield from told[:MOST_TOLD]
    if len(told) > MOST_TOLD:
        yield f"and {len(told) - MOST_TOLD} more tracebacks in the logs"


def _bug(line: str) -> str | None:
    process, _, text = line.partition(" | ")
    if not text.startswith("{"):
        return f"{process} wrote: {text}" if text.startswith("Traceback") else None
    try:
        event = json.loads(text)
    except ValueError:
        return None  # cut by kill -9
    if not event.get("exception"):
        return None
    last = str(event["exception"]).strip().splitlines()[-1]
    return f"{process} logged {event.get('event')!r}: {last}"
