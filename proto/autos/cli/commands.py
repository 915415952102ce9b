"""The commands, one function each. A function prints the result and returns the exit code."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from itertools import islice

from autos._client.calls import StartOptions, is_process_number
from autos._client.sync_client import Client
from autos._client.watching import JOB_ENDS
from autos.cli.exits import Exit, exit_of_job
from autos.cli.groups.batch_start import start_many
from autos.cli.groups.pull_command import pull
from autos.cli.groups.subscriptions import selection_of, subscribe, subscriptions, unsubscribe
from autos.cli.live import job_view
from autos.cli.output import (
    print_found,
    print_job,
    print_json,
    print_note,
    print_rows,
    write_bytes,
    write_line,
)
from autos.cli.wording import (
    case_lines,
    counts,
    document_state,
    job_state,
    line,
    shown,
    size,
    usage_lines,
)
from autos.downloads.v1 import downloads_pb2 as pb

Command = Callable[[Client, Namespace], Exit]


def start(client: Client, options: Namespace) -> Exit:
    """Start a job. Print the job_id to stdout, for scripts. "-": many, from standard input."""
    chosen = StartOptions(
        webhook_url=options.webhook_url,
        max_age=options.max_age,
        priority=getattr(pb, f"PRIORITY_{options.priority}"),
        selection=selection_of(options),
        list_only=options.list_only,
        labels=dict(options.labels),
    )
    if options.process_number == "-":
        return start_many(client, options, chosen)
    started = client.start(options.process_number, request_id=options.request_id, **chosen)
    job = started.job
    if options.wait:
        job = _waited(client, options, job)
        started.job.CopyFrom(job)
    if options.json:
        print_json(started)
    else:
        write_line(job.job_id)
        print_note(f"{'started' if started.created else 'joined an existing job'}: {line(job)}")
    return _watched(client, options, job) if options.watch else exit_of_job(job)


def retry(client: Client, options: Namespace) -> Exit:
    """Run the failed documents again. Print the job."""
    job = client.retry(_job_id(client, options.target))
    if options.wait:
        job = _waited(client, options, job)
    print_job(job, options)
    return _watched(client, options, job) if options.watch else exit_of_job(job)


def watch(client: Client, options: Namespace) -> Exit:
    """Print every change until the end of the job."""
    return _watched(client, options, client.status(options.target), options.after_revision)


def wait(client: Client, options: Namespace) -> Exit:
    """Wait for the end of the job. Print the job."""
    job = _waited(client, options, client.status(options.target))
    print_job(job, options)
    return exit_of_job(job)


def status(client: Client, options: Namespace) -> Exit:
    """Print the current job. The exit code is OK in every state of the job."""
    print_job(client.status(options.target), options)
    return Exit.OK


def cancel(client: Client, options: Namespace) -> Exit:
    """Cancel the job. Print the job."""
    print_job(client.cancel(_job_id(client, options.target)), options)
    return Exit.OK


def redeliver(client: Client, options: Namespace) -> Exit:
    """Send the job's webhooks again. Print the job."""
    print_job(client.redeliver(_job_id(client, options.target)), options)
    return Exit.OK


def test_webhook(client: Client, options: Namespace) -> Exit:
    """Send a test event to a URL. Print whether the receiver accepted it."""
    attempt = client.test_webhook(options.webhook_url)
    if options.json:
        print_json(attempt)
    else:
        write_line(shown(attempt.error) if attempt.error else f"accepted: {attempt.status_code}")
    return Exit.ERROR if attempt.error else Exit.OK


def usage(client: Client, options: Namespace) -> Exit:
    """Print the limits of the client and what it has used of them."""
    print_found(client.usage(), options, usage_lines)
    return Exit.OK


def list_jobs(client: Client, options: Namespace) -> Exit:
    """Print one job a line."""
    states = [getattr(pb, f"JOB_STATE_{each}") for each in options.states]
    found = client.jobs(
        process_number=options.process_number,
        states=states,
        labels=dict(options.labels),
        batch_id=options.batch,
    )
    jobs = islice(found, options.limit)
    if options.json:
        print_json(*jobs)
    else:
        print_rows((j.job_id, j.process_number, job_state(j), counts(j)) for j in jobs)
    return Exit.OK


def documents(client: Client, options: Namespace) -> Exit:
    """Print one document a line."""
    states = [getattr(pb, f"DOCUMENT_STATE_{each}") for each in options.states]
    found = client.documents(_job_id(client, options.target), states=states)
    if options.json:
        print_json(*found)
    else:
        print_rows(_row(document) for document in found)
    return Exit.OK


def _row(document: pb.Document) -> tuple[str, ...]:
    is_there = document.state == pb.DOCUMENT_STATE_AVAILABLE
    return (
        document.document_id,
        shown(document.instance, 10),
        str(document.sequence),
        document_state(document),
        size(document.size_bytes) if is_there else document.error.reason,
        shown(document.name, 60),
    )


def url(client: Client, options: Namespace) -> Exit:
    """Print the URL only."""
    job_id = _job_id(client, options.target)
    found = client.url(job_id, options.document_id, lifetime=options.lifetime)
    print_json(found) if options.json else write_line(found.url)
    return Exit.OK


def case(client: Client, options: Namespace) -> Exit:
    """Print the data of a case; with --listing the portal's answer as it came."""
    if options.listing:
        write_bytes(client.case_listing(options.process_number))
        return Exit.OK
    print_found(client.case(options.process_number), options, case_lines)
    return Exit.OK


def events(client: Client, options: Namespace) -> Exit:
    """Print one event a line, oldest first; with --follow without end."""
    found = client.events(
        after_cursor=options.after,
        follow=options.follow,
        without_documents=not options.json,
        patience_s=options.patience,
    )
    for each in found:
        if options.json:
            print_json(each)
            options.after = each.cursor
            continue
        event = each.event
        moment = event.timestamp.ToDatetime().isoformat(timespec="seconds")
        job = event.data.job
        number = event.data.process_number or job.process_number
        write_line(shown(f"{moment}Z  {event.type}  {number}  {job.job_id}".rstrip(), 200))
        options.after = each.cursor
    return Exit.OK


def _watched(client: Client, options: Namespace, job: pb.Job, after_revision: int = 0) -> Exit:
    options.job_id = job.job_id
    messages = client.watch(
        job.job_id,
        after_revision=after_revision,
        timeout_s=options.deadline,
        patience_s=options.patience,
    )
    if options.json:
        for message in messages:
            print_json(message)
            job = message.job if message.HasField("job") else job
        return exit_of_job(job)
    with job_view() as view:
        for message in messages:
            view.show(message)
            job = message.job if message.HasField("job") else job
    return exit_of_job(job)


def _waited(client: Client, options: Namespace, job: pb.Job) -> pb.Job:
    options.job_id = job.job_id
    if job.state in JOB_ENDS:
        return job
    return client.wait(job.job_id, timeout_s=options.deadline, patience_s=options.patience)


def _job_id(client: Client, target: str) -> str:
    return client.status(target).job_id if is_process_number(target) else target


COMMANDS: dict[str, Command] = {
    "start": start,
    "watch": watch,
    "wait": wait,
    "status": status,
    "list": list_jobs,
    "documents": documents,
    "cancel": cancel,
    "retry": retry,
    "case": case,
    "events": events,
    "subscribe": subscribe,
    "unsubscribe": unsubscribe,
    "subscriptions": subscriptions,
    "url": url,
    "pull": pull,
    "redeliver": redeliver,
    "test-webhook": test_webhook,
    "usage": usage,
}
