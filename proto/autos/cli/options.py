"""The commands and options of the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from autos._client.connection import ADDRESS, Connection
from autos._client.files.pulling import PARALLEL
from autos.cli.output import write_line
from autos.cli.shell_completion import SHELLS
from autos.downloads.v1 import downloads_pb2 as pb
from autos.errors import WrongSettings

TIMEOUT_S = 10.0
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
    common = _common()
    root.add_argument("--version", action="version", version=f"autos {_version()}")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str, *, target: bool = True) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text, parents=[common])
        if target:
            what = "a job_id or a process number"
            added.add_argument("target", type=_text, metavar="TARGET", help=what)
        return added

    _add_start(command("start", "start a job, or join the one that serves the case", target=False))
    watch = command("watch", "show a job until it ends")
    watch.add_argument(
        "--after-revision", type=_revision, default=0, metavar="N", help="continue after this one"
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
    _add_events(command("events", "ends of jobs, oldest first, as webhooks say them", target=False))
    subscribe = command("subscribe", "watch a case, or change how it is watched", target=False)
    _add_subscribe(subscribe)
    _add_number(command("unsubscribe", "end watching a case", target=False))
    command("subscriptions", "the watched cases", target=False)
    _add_url(command("url", "a presigned URL of one document; it is a secret"))
    _add_pull(command("pull", "fetch every available document into a folder"))
    command("redeliver", "send the webhook of an ended job again")
    test = command("test-webhook", "send a signed test event to a URL once", target=False)
    test.add_argument("webhook_url", type=_text, metavar="URL", help="a receiver of webhooks")
    health = command("health", "check once whether Autos serves, for probes", target=False)
    health.add_argument(
        "service", nargs="?", default="", type=_text, metavar="NAME", help="such as autos.portal"
    )
    # It connects to nothing, so it has no option of a connection.
    completion = "print the script that completes words in a shell"
    commands.add_parser("completion", help=completion, description=completion).add_argument(
        "shell", choices=list(SHELLS)
    )
    command("usage", "the limits of this client and what it has used of them", target=False)
    return root


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


def connection(options: argparse.Namespace, env: Mapping[str, str]) -> Connection:
    """Return the connection. Flags take precedence over the environment. Raises WrongSettings."""
    flags = {
        "AUTOS_ADDRESS": options.address,
        "AUTOS_TOKEN": options.token_file and _token(options.token_file),
        "AUTOS_CA_FILE": options.ca_file,
        "AUTOS_CERT_FILE": options.cert_file,
        "AUTOS_KEY_FILE": options.key_file,
    }
    return Connection.from_env({**env, **{k: v for k, v in flags.items() if v is not None}})


def _token(file: str) -> str:
    """Return the token in a file; "-" is standard input. Raises WrongSettings.

    The token is not a flag, since every user of the machine can read the flags of a process.
    """
    try:
        text = sys.stdin.readline() if file == "-" else Path(file).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongSettings(f"--token-file {file} cannot be read as a token.") from error
    if not text.strip():
        raise WrongSettings(f"--token-file {file} holds no token.")
    return text.strip()


def _common() -> _Parser:
    common = _Parser(add_help=False)
    common.add_argument("--json", action="store_true", help="JSON, one object a line")
    where = common.add_argument_group("where Autos is")
    where.add_argument("--address", metavar="HOST:PORT", help=f"default {ADDRESS}")
    where.add_argument("--token-file", metavar="FILE", help="has the bearer token; - is stdin")
    where.add_argument("--ca-file", metavar="FILE", help="the server's CA; means TLS")
    where.add_argument("--cert-file", metavar="FILE", help="client certificate, for mutual TLS")
    where.add_argument("--key-file", metavar="FILE", help="its key")
    where.add_argument(
        "--timeout",
        type=_seconds,
        default=TIMEOUT_S,
        metavar="S",
        help="seconds that each call is tried, default %(default)g",
    )
    return common


def _add_number(parser: argparse.ArgumentParser, more: str = "") -> None:
    help_ = f"the CNJ number of the case{more}"
    parser.add_argument("process_number", type=_text, metavar="NUMBER", help=help_)


def _add_start(start: argparse.ArgumentParser) -> None:
    _add_number(start, "; - reads numbers from standard input, one a line")
    start.add_argument(
        "--webhook-url", type=_text, default="", metavar="URL", help="called when the job ends"
    )
    start.add_argument(
        "--request-id", type=_text, metavar="UUID", help="the same value returns the first job"
    )
    start.add_argument(
        "--max-age",
        type=_age,
        metavar="S",
        help="reuse a listing at most this old, in seconds; 0 lists the case again",
    )
    start.add_argument("--priority", type=str.upper, choices=PRIORITIES, default="NORMAL")
    _add_choices(start)
    _add_following(start)


def _add_choices(start: argparse.ArgumentParser) -> None:
    chosen = start.add_argument_group("which documents")
    chosen.add_argument("--list-only", action="store_true", help="list the case, fetch nothing")
    chosen.add_argument(
        "--document",
        dest="document_ids",
        action="append",
        default=[],
        type=_text,
        metavar="DOCUMENT_ID",
        help="only these, may be repeated",
    )
    chosen.add_argument(
        "--kind",
        dest="kinds",
        action="append",
        default=[],
        type=_text,
        metavar="KIND",
        help="only of these kinds, such as Sentença, may be repeated",
    )
    chosen.add_argument(
        "--since", type=_text, default="", metavar="DATE", help="only filed on this date or later"
    )
    _add_labels(start, "a name for the job, may be repeated")


def _add_labels(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument(
        "--label",
        dest="labels",
        action="append",
        default=[],
        type=_label,
        metavar="KEY=VALUE",
        help=text,
    )


def _add_following(parser: argparse.ArgumentParser) -> None:
    then = parser.add_mutually_exclusive_group()
    then.add_argument("--watch", action="store_true", help="then show it until it ends")
    then.add_argument("--wait", action="store_true", help="then wait until it has ended")
    _add_patience(parser)


def _add_patience(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--deadline", type=_seconds, metavar="S", help="stop watching after this; the job continues"
    )
    parser.add_argument(
        "--patience",
        type=_seconds,
        default=PATIENCE_S,
        metavar="S",
        help="seconds that the server may be unavailable, default %(default)g",
    )


def _add_list(listing: argparse.ArgumentParser) -> None:
    listing.add_argument(
        "--process-number", type=_text, default="", metavar="NUMBER", help="of this case only"
    )
    listing.add_argument("--limit", type=_count, metavar="N", help="the newest N")
    listing.add_argument(
        "--batch", type=_text, default="", metavar="BATCH_ID", help="of this batch only"
    )
    _add_labels(listing, "only with this label, may be repeated")
    _add_states(listing, JOB_STATES)


def _add_states(parser: argparse.ArgumentParser, states: list[str]) -> None:
    parser.add_argument(
        "--state",
        dest="states",
        action="append",
        default=[],
        type=str.upper,
        choices=states,
        metavar="STATE",
        help=f"only these, may be repeated: {', '.join(states)}",
    )


def _add_case(case: argparse.ArgumentParser) -> None:
    _add_number(case)
    case.add_argument("--listing", action="store_true", help="the portal's answer as it came, JSON")


def _add_subscribe(subscribe: argparse.ArgumentParser) -> None:
    _add_number(subscribe)
    subscribe.add_argument(
        "--interval", type=_age, metavar="S", help="seconds between two listings, default 24 h"
    )
    subscribe.add_argument(
        "--webhook-url", type=_text, default="", metavar="URL", help="called when it has changed"
    )
    _add_choices(subscribe)


def _add_events(events: argparse.ArgumentParser) -> None:
    events.add_argument("--follow", action="store_true", help="then wait for further events")
    events.add_argument(
        "--after", type=_text, default="", metavar="CURSOR", help="continue after this event"
    )


def _add_url(url: argparse.ArgumentParser) -> None:
    url.add_argument("document_id", type=_text, metavar="DOCUMENT_ID")
    url.add_argument("--lifetime", type=_age, metavar="S", help="seconds until it expires")


def _add_pull(pull: argparse.ArgumentParser) -> None:
    pull.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="default: the number")
    pull.add_argument(
        "--parallel",
        type=_count,
        default=PARALLEL,
        metavar="N",
        help="files at once, default %(default)s",
    )


def _text(text: str) -> str:
    """Return text for the server. A shell may pass bytes that are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise argparse.ArgumentTypeError(f"{text!a} is not UTF-8") from error
    return text


def _label(text: str) -> tuple[str, str]:
    key, is_there, value = _text(text).partition("=")
    if not is_there:
        raise argparse.ArgumentTypeError(f"{text} is not KEY=VALUE")
    return key, value


def _revision(text: str) -> int:
    revision = int(text)
    if not -(2**63) <= revision < 2**63:
        raise argparse.ArgumentTypeError(f"{text} is not a revision")
    return revision


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return seconds


def _age(text: str) -> timedelta:
    seconds = float(text)
    if not 0 <= seconds <= 315_360_000:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return timedelta(seconds=seconds)


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return count
