"""Derives the blocking client from the asyncio client, so that each method is written once."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).resolve().parent.parent / "proto" / "autos" / "_client"
SOURCE, DERIVED = CLIENT / "async_client.py", CLIENT / "sync_client.py"
# Sentences that differ between the two clients.
TEXTS = {
    "The asyncio client. `make proto` derives the blocking client from it: dev/unasync.py.": (
        "The blocking client. DO NOT EDIT: dev/unasync.py generates it from async_client.py."
    ),
    "The asyncio client. Create it in the event loop that uses it, in an `async with` block.": (
        "The blocking client. Threads may share one. Close it, or use it in a `with` block."
    ),
}
WORDS = {
    r"\basync (?=def|for|with)": "",
    r"\bawait ": "",
    r"\bAsyncClient\b": "Client",
    r"\bAsyncIterator\b": "Iterator",
    r"\basync_io\b": "sync_io",
    r"\b__a(enter|exit)__\b": r"__\1__",
}


def derived() -> bytes:
    """Return the source of the blocking client. Raises KeyError if a rule matches nothing."""
    text = SOURCE.read_text(encoding="utf-8")
    for pattern, word in {**{re.escape(old): new for old, new in TEXTS.items()}, **WORDS}.items():
        text, count = re.subn(pattern, word, text)
        if not count:
            raise KeyError(pattern)
    ruff = Path(sys.executable).parent / "ruff"
    for command in (("check", "--quiet", "--select", "I", "--fix"), ("format",)):
        text = subprocess.run(
            (ruff, *command, "--stdin-filename", DERIVED, "-"),
            input=text,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    return text.encode()
