"""The results of commands: messages as JSON, rows in columns, and notes for people."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Iterable
from typing import TypeVar

from google.protobuf.message import Message

from autos.cli.output import write_json, write_line
from autos.cli.wording import columns, job_lines, shown
from autos.downloads.v1 import downloads_pb2 as pb
from autos.json_form import as_json

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
