"""Everything that the command prints goes through this module.

No text of a server reaches a terminal with control characters or bidirectional marks: the first can
move the cursor and change what stands on the screen, the second can reverse a name.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable
from typing import Any, TextIO, TypeVar

from google.protobuf.message import Message

from autos.cli.wording import columns, job_lines, printable, shown
from autos.downloads.v1 import downloads_pb2 as pb
from autos.json_form import as_json


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


M = TypeVar("M", bound=Message)


def print_job(job: pb.Job, options: Namespace) -> None:
    """Print a job, as JSON or as lines for people."""
    print_found(job, options, job_lines)


def print_found(found: M, options: Namespace, lines: Callable[[M], Iterable[str]]) -> None:
    """Print a message, as JSON or as the `lines` for people."""
    if options.json:
        print_json(found)
    else:
        for each in lines(found):
            write_line(each)


def print_json(*messages: Message) -> None:
    """Print a line of JSON for each message."""
    for message in messages:
        write_json(as_json(message))


def print_rows(rows: Iterable[tuple[str, ...]]) -> None:
    """Print a line for each row, in columns."""
    for row in columns(list(rows)):
        write_line(row)


def print_note(text: str) -> None:
    """Print a line for people to stderr; stdout is for scripts."""
    write_line(shown(text, 500), sys.stderr)
