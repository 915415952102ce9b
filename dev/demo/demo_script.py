"""The script of `make demo`, from the first line to the last."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta

from rich.filesize import decimal

from autos import AutosError, Client, Connection, pb
from autos.cli.wording import shown
from dev.demo.demo_cases import Case, await_known, demo_cases
from dev.demo.demo_console import DemoConsole, DemoFailure
from dev.demo.demo_environment import DemoEnvironment, opened_environment
from dev.demo.demo_progress import follow
from dev.demo.demo_verification import opened_document, verified_webhook
from storage.errors import ConfigurationError

ROWS_MAX = 8
KIND_WIDTH = 16
NAME_WIDTH_MIN, NAME_WIDTH_MAX = 14, 44
OTHER_COLUMNS_WIDTH = 59
COLUMNS = ("name", "kind", ">size", "type", "sha256")


def run_demo(environ: Mapping[str, str]) -> int:
    """Run the demo. Return the exit code."""
    screen = DemoConsole()
    try:
        _run_demo(environ, screen)
    except (DemoFailure, ConfigurationError) as error:
        return screen.fail(str(error))
    except AutosError as error:
        return screen.fail(f"Autos answered {error.reason}: {error}")
    except OSError as error:  # includes the errors of requests
        return screen.fail(f"The demo could not continue: {error}")
    return 0


def _run_demo(environ: Mapping[str, str], screen: DemoConsole) -> None:
    begun = time.monotonic()
    screen.line("Autos: every document of a court case, fetched, stored and reported", "bold")
    screen.line()
    with (
        opened_environment(environ, screen) as place,
        Client(Connection(place.address, token=place.token or "")) as client,
    ):
        await_known(client)
        is_ours = place.is_ours
        cases = demo_cases(place.portal_url, place.receiver.url_of)
        _start(client, cases, screen)
        follow(client, cases, screen)
        screen.line()
        _check_ends(cases)
        _prove(client, place, cases, screen)
    seconds = time.monotonic() - begun
    if is_ours:
        screen.done("Stopped", f"nothing is left running; {seconds:.1f} s in all")
    else:
        screen.done("Done", f"{seconds:.1f} s in all; `make run` goes on")
    screen.line()
    _print_next_steps(is_ours, screen)


def _start(client: Client, cases: Sequence[Case], screen: DemoConsole) -> None:
    for case in cases:
        # A maximum age of zero makes the worker list the case at the portal again.
        answer = client.start(case.number, webhook_url=case.webhook_url, max_age=timedelta())
        case.job, case.is_new = answer.job, answer.created
    screen.done("Jobs", "two cases, started with StartDownload and followed with WatchProgress")
    for case in cases:
        screen.line(f"  {case.number}  {case.about}", "dim")
        if not case.is_new:
            screen.line("  This job was running already, and was joined.", "dim")
    screen.line()


def _check_ends(cases: Sequence[Case]) -> None:
    for case in cases:
        job = case.job
        if job.state != case.expected:
            why = job.error.message or f"{job.progress.failed_documents} documents failed."
            raise DemoFailure(
                f"The job of {case.number} ended {_state(job.state)} instead of "
                f"{_state(case.expected)}: {why}"
            )


def _prove(
    client: Client, place: DemoEnvironment, cases: Sequence[Case], screen: DemoConsole
) -> None:
    hashes: dict[str, str] = {}
    with screen.waiting("waiting for the webhooks"):
        webhooks = [verified_webhook(client, place, case) for case in cases]
    for case, webhook in zip(cases, webhooks, strict=True):
        screen.done(
            "Webhook",
            f"{webhook.type} of {case.number}",
            f"signature verified; webhook-id {webhook.webhook_id}",
        )
    screen.line()
    for case in cases:
        documents = list(client.documents(case.job.job_id))
        hashes |= {document.document_id: document.sha256 for document in documents}
        _list_stored(case, [d for d in documents if d.state == pb.DOCUMENT_STATE_AVAILABLE], screen)
        _list_failed([d for d in documents if d.state == pb.DOCUMENT_STATE_FAILED], screen)
    opened = opened_document(webhooks[0], hashes)
    screen.done(
        "Opened",
        f"{shown(opened.name, 30)}, by the presigned URL in the webhook",
        f"{decimal(opened.size_bytes)}; its SHA-256 is the one on record: {opened.sha256[:12]}…",
        opened.where,
    )
    screen.line()


def _state(state: pb.JobState) -> str:
    return pb.JobState.Name(state).removeprefix("JOB_STATE_")


def _list_stored(case: Case, stored: Sequence[pb.Document], screen: DemoConsole) -> None:
    size = decimal(sum(document.size_bytes for document in stored))
    about = [
        f"{len(stored)} of {case.job.progress.total_documents} documents of {case.number}, {size}"
    ]
    if reused := case.job.progress.reused_documents:
        about.append(f"{reused} were there from an earlier job and were not fetched again")
    if again := sum(document.attempt_count > 1 for document in stored):
        about.append(f"{again} came only at a later attempt")
    screen.done("Stored", *about)
    room = screen.console.width - OTHER_COLUMNS_WIDTH
    name_width = max(NAME_WIDTH_MIN, min(NAME_WIDTH_MAX, room))
    rows = [_row(document, name_width) for document in stored[:ROWS_MAX]]
    if len(stored) > ROWS_MAX:
        rest = stored[ROWS_MAX:]
        rest_size = decimal(sum(document.size_bytes for document in rest))
        rows.append((f"… and {len(rest)} more", "", rest_size, "", ""))
    screen.table(COLUMNS, rows)
    screen.line()


def _row(document: pb.Document, name_width: int) -> tuple[str, ...]:
    return (
        shown(document.name, name_width),
        shown(document.kind, KIND_WIDTH),
        decimal(document.size_bytes),
        document.content_type,
        document.sha256[:12],
    )


def _list_failed(failed: Sequence[pb.Document], screen: DemoConsole) -> None:
    reasons = Counter((d.error.reason, d.error.message, d.attempt_count) for d in failed)
    for (reason, message, attempts), count in reasons.most_common():
        screen.missed(
            "Failed",
            f"{_count(count, 'document')}, {reason}: {message}",
            f"after {_count(attempts, 'attempt')} each; the next job of the case tries again",
        )
        screen.line()


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _print_next_steps(is_ours: bool, screen: DemoConsole) -> None:
    if is_ours:
        screen.line("Next:  make run     the same, kept up, and calls to try with grpcurl")
    else:
        screen.line("Next:  the calls that `make run` has printed")
    screen.line("       make demo    again: what is stored already is not fetched again")
    screen.line(
        "       README.md    how to call it, how to deploy it, and every page of the documentation"
    )
