"""Check that no process logged a bug, which is a line with a traceback."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

MOST_TOLD = 5


def check(lines: Sequence[str]) -> Iterator[str]:
    """Return the log lines that the processes should not have written."""
    bugs = [line for line in map(_bug, lines) if line]
    yield from bugs[:MOST_TOLD]
    if len(bugs) > MOST_TOLD:
        yield f"and {len(bugs) - MOST_TOLD} more tracebacks in the logs"


def _bug(line: str) -> str | None:
    process, _, text = line.partition(" | ")
    if not text.startswith("{"):
        return f"{process} wrote: {text}" if text.startswith("Traceback") else None
    try:
        event = json.loads(text)
    except ValueError:
        return None  # SIGKILL cut the line.
    if not event.get("exception"):
        return None
    last = str(event["exception"]).strip().splitlines()[-1]
    return f"{process} logged {event.get('event')!r}: {last}"
