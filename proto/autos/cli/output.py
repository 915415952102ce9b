"""Everything that the command prints goes through this module.

No text of a server reaches a terminal with control characters or bidirectional marks: the first can
move the cursor and change what stands on the screen, the second can reverse a name.
"""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO


def printable(text: str) -> str:
    """Return `text` with a replacement character for each control, bidi or other invisible one."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def write_line(text: str, stream: TextIO | None = None) -> None:
    """Print one line without invisible characters. `stream`: standard output if None.

    One write for the whole line, since several threads print.
    """
    _write(printable(text), stream or sys.stdout)


def write_json(value: Any, stream: TextIO | None = None) -> None:
    """Print `value` as one line of JSON. Invisible characters are escaped, so no value changes."""
    text = json.dumps(value, ensure_ascii=False)
    _write("".join(c if c.isprintable() else _escaped(c) for c in text), stream or sys.stdout)


def write_bytes(content: bytes) -> None:
    """Write bytes to standard output unchanged; to a terminal, as text without invisible ones."""
    if sys.stdout.isatty():
        write_line(content.decode("utf-8", "replace"))
    else:
        sys.stdout.buffer.write(content)
        sys.stdout.flush()


def _escaped(character: str) -> str:
    return json.dumps(character)[1:-1]


def _write(line: str, stream: TextIO) -> None:
    stream.write(f"{line}\n")
    stream.flush()
