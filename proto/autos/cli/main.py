"""The command `autos`: from its arguments to its exit code."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from io import TextIOWrapper

from autos._client.sync_client import Client
from autos.cli.commands import COMMANDS
from autos.cli.connection_options import connection
from autos.cli.exits import Exit, exit_of_error
from autos.cli.health_command import health
from autos.cli.options import parser
from autos.cli.output import write_json, write_line
from autos.cli.shell_completion import script
from autos.cli.wording import length, shown
from autos.errors import AutosError, NotAllowed, PullFailed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Return the exit code. `arguments`: those of the process if None."""
    root = parser()
    options = root.parse_args(arguments)
    if options.command == "completion":
        for line in script(options.shell, root).splitlines():
            write_line(line)
        return Exit.OK
    _read_anything()
    _write_anything(options)
    try:
        code = _run(options)
        sys.stdout.flush()
    except AutosError as error:
        _print_error(error, options)
        if options.command == "events" and error.is_passing and not options.json:
            _print_note(_how_to_go_on(options))
        return exit_of_error(error)
    except KeyboardInterrupt:
        _print_note(f"\nInterrupted. {_how_to_go_on(options)}")
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader has closed the pipe. Nothing may be written any more, not even at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.BROKEN_PIPE
    except OSError as error:
        _print_note(f"autos: {error.filename or 'output'} cannot be written: {error.strerror}.")
        return Exit.CANNOT_WRITE
    return code


def _read_anything() -> None:
    """Make input safe: bytes that are not UTF-8 become a replacement character."""
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")


def _write_anything(options: Namespace) -> None:
    """Make output safe for terminals without UTF-8. JSON is always UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            if options.json:
                stream.reconfigure(encoding="utf-8")
            else:
                stream.reconfigure(errors="replace")


def _run(options: Namespace) -> Exit:
    noted: list[str] = []

    def note_once(error: AutosError, pause_s: float) -> None:
        """Report a pause once for each reason, so that an outage does not fill the screen."""
        if error.reason not in noted:
            noted.append(error.reason)
            when = f" in {length(pause_s)}" if pause_s >= 1 else ""
            _print_note(f"{where.address} answers {error.reason}: trying again{when}.")

    where = connection(options, os.environ)
    if options.command == "health":
        return health(where, options)
    with Client(where, timeout_s=options.timeout, on_pause=note_once) as client:
        return COMMANDS[options.command](client, options)


def _print_error(error: AutosError, options: Namespace) -> None:
    if not options.json:
        for failure in error.failures.values() if isinstance(error, PullFailed) else ():
            _print_note(failure)
        _print_note(f"autos: {_with_hint(error)}")
        return
    fields = {
        "error": {
            "kind": type(error).__name__,
            "reason": error.reason,
            "message": error.message,
            "violations": error.violations,
            "metadata": error.metadata,
            "retry_delay_s": error.retry_delay_s,
        }
    }
    write_json(fields, sys.stderr)


def _with_hint(error: AutosError) -> str:
    """Return the message with what the caller can do; when to try again replaces a bare advice."""
    if isinstance(error, NotAllowed):
        return f"{error.message} Give a token by AUTOS_TOKEN or --token-file."
    if error.retry_delay_s is None:
        return error.message
    return (
        f"{error.message.removesuffix(' Try again.')} Try again in {length(error.retry_delay_s)}."
    )


def _how_to_go_on(options: Namespace) -> str:
    if options.command == "events":
        after = f" --after {options.after}" if options.after else ""
        return f"Continue: autos events{' --follow' if options.follow else ''}{after}"
    job_id = getattr(options, "job_id", None)
    if job_id is None:
        return "If a job was started, the same command finds it again."
    if options.command == "pull":
        return f"All fetched files are complete. Continue: autos pull {job_id}{_folder(options)}"
    return f"The job continues. Watch it again: autos watch {job_id}"


def _folder(options: Namespace) -> str:
    return f" {options.folder}" if options.folder else ""


def _print_note(text: str) -> None:
    for line in text.split("\n"):
        write_line(shown(line, 1000), sys.stderr)
