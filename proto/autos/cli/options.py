"""The commands and options of the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from autos._client.pulling import PARALLEL
from autos.cli.connection_options import add_connection_options
from autos.cli.option_values import count, duration, label, name, revision, seconds, utf8
from autos.cli.output import write_line
from autos.cli.shell_completion import SHELLS
from autos.downloads.v1 import downloads_pb2 as pb

PATIENCE_S = 300.0
JOB_STATES = [name.removeprefix("JOB_STATE_") for name in pb.JobState.keys()[1:]]
DOCUMENT_STATES = [name.removeprefix("DOCUMENT_STATE_") for name in pb.DocumentState.keys()[1:]]
PRIORITIES = [name.removeprefix("PRIORITY_") for name in pb.Priority.keys()[1:]]
EPILOG = """
A TARGET is a job_id, or a process number, which means the newest job of the case.

environment: AUTOS_ADDRESS, AUTOS_TOKEN, AUTOS_CA_FILE, AUTOS_CERT_FILE, AUTOS_KEY_FILE

exit codes:
  0 done; the job is COMPLETED      65 the request is wrong     75 too much at once, or too slow
  1 another error                   66 no such job, document, case  77 no token, or an unknown one
  2 wrong usage                     69 Autos does not answer    78 wrong settings
  3 the job PARTIALLY_COMPLETED     70 an error of the server  130 interrupted
  4 the job FAILED                  73 the folder or the screen cannot be written to
  5 the job was CANCELLED
  6 not in this state of the job
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line. Its result has the command's name in `command`."""
    root = _Parser(
        prog="autos",
        description="Every document of a Brazilian court case, fetched in the background.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common = _Parser(add_help=False)
    add_connection_options(common)
    root.add_argument("--version", action="version", version=f"autos {_version()}")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str, *, target: bool = True) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text, parents=[common])
        if target:
            what = "a job_id or a process number"
            added.add_argument("target", type=utf8, metavar="TARGET", help=what)
        return added

    _add_commands(command)
    # It connects to nothing, so it has no option of a connection.
    completion = "print the script that completes words in a shell"
    commands.add_parser("completion", help=completion, description=completion).add_argument(
        "shell", choices=list(SHELLS)
    )
    return root


def _add_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    _add_start(command("start", "start a job, or join the one that serves the case", target=False))
    watch = command("watch", "show a job until it ends")
    watch.add_argument(
        "--after-revision", type=revision, default=0, metavar="N", help="continue after this one"
    )
    _add_patience(watch)
    _add_patience(command("wait", "wait for the end of a job without output"))
    command("status", "one job as it is now")
    _add_list(command("list", "jobs, newest first", target=False))
    documents = command("documents", "the documents of a job")
    _add_states(documents, DOCUMENT_STATES)
    command("cancel", "stop a job")
    _add_following(command("retry", "run the failed documents of an ended job again"))
    _add_case(command("case", "class, parties and movements of a listed case", target=False))
    _add_events(
        command("events", "ends of jobs and changes of watched cases, oldest first", target=False)
    )
    subscribe = command("subscribe", "watch a case, or change how it is watched", target=False)
    _add_subscribe(subscribe)
    _add_number(command("unsubscribe", "end watching a case", target=False))
    command("subscriptions", "the watched cases", target=False)
    _add_url(command("url", "a presigned URL of one document; it is a secret"))
    _add_pull(command("pull", "fetch every available document into a folder"))
    command("redeliver", "send the webhook of an ended job again")
    test = command("test-webhook", "send a signed test event to a URL once", target=False)
    test.add_argument("webhook_url", type=utf8, metavar="URL", help="a receiver of webhooks")
    health = command("health", "check once whether Autos serves, for probes", target=False)
    health.add_argument(
        "service", nargs="?", default="", type=utf8, metavar="NAME", help="such as autos.portal"
    )
    command("usage", "the limits of this client and what it has used of them", target=False)


def _version() -> str:
    try:
        return version("autos")
    except PackageNotFoundError:
        return "(not installed)"


class _Parser(argparse.ArgumentParser):
    """A parser whose messages are printed as everything else is."""

    def _print_message(self, message: str, file: Any = None) -> None:
        for line in message.rstrip("\n").split("\n"):
            write_line(line, file or sys.stderr)


def _add_number(parser: argparse.ArgumentParser, more: str = "") -> None:
    help_ = f"the CNJ number of the case{more}"
    parser.add_argument("process_number", type=utf8, metavar="NUMBER", help=help_)


def _add_start(start: argparse.ArgumentParser) -> None:
    _add_number(start, "; - reads numbers from standard input, one a line")
    start.add_argument(
        "--webhook-url", type=utf8, default="", metavar="URL", help="called when the job ends"
    )
    start.add_argument(
        "--request-id", type=utf8, metavar="UUID", help="the same value returns the first job"
    )
    start.add_argument(
        "--max-age",
        type=duration,
        metavar="DURATION",
        help="reuse a listing at most this old, such as 30m; 0 lists the case again",
    )
    start.add_argument("--priority", type=str.upper, choices=PRIORITIES, default="NORMAL")
    _add_choices(start)
    _add_following(start)


def _add_choices(start: argparse.ArgumentParser) -> None:
    chosen = start.add_argument_group("which documents")
    chosen.add_argument("--list-only", action="store_true", help="list the case, fetch nothing")
    ids = "only these, may be repeated"
    _add_repeated(chosen, "--document", "document_ids", ids, type=name, metavar="DOCUMENT_ID")
    kinds = "only of these kinds, such as Sentença, may be repeated"
    _add_repeated(chosen, "--kind", "kinds", kinds, type=name, metavar="KIND")
    chosen.add_argument(
        "--since", type=utf8, default="", metavar="DATE", help="only filed on this date or later"
    )
    _add_labels(start, "a name for the job, may be repeated")


def _add_labels(parser: argparse.ArgumentParser, text: str) -> None:
    _add_repeated(parser, "--label", "labels", text, type=label, metavar="KEY=VALUE")


def _add_repeated(group: Any, flag: str, dest: str, text: str, **options: Any) -> None:
    """Add an option that may be repeated, to a parser or a group of one."""
    group.add_argument(flag, dest=dest, action="append", default=[], help=text, **options)


def _add_following(parser: argparse.ArgumentParser) -> None:
    then = parser.add_mutually_exclusive_group()
    then.add_argument("--watch", action="store_true", help="then show it until it ends")
    then.add_argument("--wait", action="store_true", help="then wait until it has ended")
    _add_patience(parser)


def _add_patience(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--deadline", type=seconds, metavar="S", help="stop watching after this; the job continues"
    )
    _add_patience_alone(parser)


def _add_patience_alone(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--patience",
        type=seconds,
        default=PATIENCE_S,
        metavar="S",
        help="seconds that the server may be unavailable, default %(default)g",
    )


def _add_list(listing: argparse.ArgumentParser) -> None:
    listing.add_argument(
        "--process-number", type=utf8, default="", metavar="NUMBER", help="of this case only"
    )
    listing.add_argument("--limit", type=count, metavar="N", help="the newest N")
    listing.add_argument(
        "--batch", type=utf8, default="", metavar="BATCH_ID", help="of this batch only"
    )
    _add_labels(listing, "only with this label, may be repeated")
    _add_states(listing, JOB_STATES)


def _add_states(parser: argparse.ArgumentParser, states: list[str]) -> None:
    text = f"only these, may be repeated: {', '.join(states)}"
    options = {"type": str.upper, "choices": states, "metavar": "STATE"}
    _add_repeated(parser, "--state", "states", text, **options)


def _add_case(case: argparse.ArgumentParser) -> None:
    _add_number(case)
    case.add_argument("--listing", action="store_true", help="the portal's answer as it came, JSON")


def _add_subscribe(subscribe: argparse.ArgumentParser) -> None:
    _add_number(subscribe)
    subscribe.add_argument(
        "--interval",
        type=duration,
        metavar="DURATION",
        help="between two listings, such as 12h or 7d; default 24h",
    )
    subscribe.add_argument(
        "--webhook-url", type=utf8, default="", metavar="URL", help="called when it has changed"
    )
    _add_choices(subscribe)


def _add_events(events: argparse.ArgumentParser) -> None:
    events.add_argument("--follow", action="store_true", help="then wait for further events")
    _add_patience_alone(events)
    events.add_argument(
        "--after",
        type=utf8,
        default="",
        metavar="CURSOR",
        help="continue after this event; --json prints the cursor of each",
    )


def _add_url(url: argparse.ArgumentParser) -> None:
    url.add_argument("document_id", type=utf8, metavar="DOCUMENT_ID")
    url.add_argument(
        "--lifetime", type=duration, metavar="DURATION", help="until it expires, such as 5m"
    )


def _add_pull(pull: argparse.ArgumentParser) -> None:
    pull.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="default: the number")
    pull.add_argument(
        "--parallel",
        type=count,
        default=PARALLEL,
        metavar="N",
        help="files at once, default %(default)s",
    )
