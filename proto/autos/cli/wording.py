"""Output for people: short lines without control sequences of terminals. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from autos._client.watching import JOB_ENDS
from autos.downloads.v1 import downloads_pb2 as pb

# The rest is in the JSON output.
MOST_PARTIES, MOST_MOVEMENTS = 20, 10


def printable(text: str) -> str:
    """Return `text` with a replacement character for each control, bidi or other invisible one."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def shown(text: str, width: int = 200) -> str:
    """Return foreign text without control and bidi characters, at most `width` characters."""
    clean = printable(text)
    return clean if len(clean) <= width else clean[: width - 1] + "…"


def job_state(job: pb.Job) -> str:
    """Return the state, such as COMPLETED; a state unknown to this client as its number."""
    return _name(pb.JobState, job.state)


def document_state(document: pb.Document) -> str:
    """Return the state, such as AVAILABLE."""
    return _name(pb.DocumentState, document.state)


def _name(kind: type[pb.JobState] | type[pb.DocumentState], value: int) -> str:
    prefix = "JOB_STATE_" if kind is pb.JobState else "DOCUMENT_STATE_"
    return kind.Name(value).removeprefix(prefix) if value in kind.values() else str(value)


def size(count: float) -> str:
    """Return a number of bytes as text: 999 B, 1.2 kB, 3.4 MB."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 999.95 or unit == "GB":
            break
    return f"{count:.1f} {unit}"


def length(seconds: float) -> str:
    """Return a duration as text: 9 s, 4:05 min, 2:07 h."""
    whole = round(max(0.0, seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"


def counts(job: pb.Job) -> str:
    """Return the counters of a job: 8 of 43 documents, 35 failed, 160.0 kB."""
    progress = job.progress
    if not progress.HasField("total_documents"):
        return "not listed yet"
    wanted = progress.total_documents - progress.skipped_documents
    parts = [f"{progress.completed_documents} of {wanted} documents"]
    for count, what in (
        (progress.failed_documents, "failed"),
        (progress.cancelled_documents, "cancelled"),
        (progress.skipped_documents, "skipped"),
        (progress.reused_documents, "stored before"),
    ):
        parts += [f"{count} {what}"] if count else []
    return ", ".join([*parts, size(progress.stored_bytes)])


def ended_of(batches: Iterable[pb.Batch]) -> tuple[int, int]:
    """Return how many jobs of the batches have ended, and how many there are."""
    states = [each for batch in batches for each in batch.jobs]
    ended = sum(each.count for each in states if each.state in JOB_ENDS)
    return ended, sum(each.count for each in states)


def batches_line(batches: Sequence[pb.Batch]) -> str:
    """Return one line about batches: 8 of 1000 jobs ended, 43 documents, 2 failed, 160.0 kB."""
    ended, jobs = ended_of(batches)
    progress = [batch.progress for batch in batches]
    parts = [
        f"{ended} of {jobs} jobs ended",
        f"{sum(each.completed_documents for each in progress)} documents",
    ]
    if failed := sum(each.failed_documents for each in progress):
        parts.append(f"{failed} failed")
    return ", ".join([*parts, size(sum(each.stored_bytes for each in progress))])


def outlook(job: pb.Job, now: datetime) -> str:
    """Return a running job's hold or its remaining time; an empty string if both are unknown."""
    if job.HasField("hold"):
        until = (
            local_time(job.hold.until_time.ToDatetime(UTC))
            if job.hold.HasField("until_time")
            else ""
        )
        return f"{job.hold.reason}{f' until {until}' if until else ''}"
    if job.HasField("estimated_end_time"):
        left_s = (job.estimated_end_time.ToDatetime(UTC) - now).total_seconds()
        return f"{length(left_s)} left" if left_s >= 1 else ""
    return f"place {job.queue_position}" if job.HasField("queue_position") else ""


def line(job: pb.Job) -> str:
    """Return one line about a job."""
    text = f"{job.process_number}  {job_state(job)}  {counts(job)}"
    return text + (f"  {outlook(job, datetime.now(UTC))}".rstrip())


def job_lines(job: pb.Job) -> Iterator[str]:
    """Yield the details of a job, one a line."""
    yield f"job       {job.job_id}"
    yield f"case      {job.process_number}"
    yield f"state     {job_state(job)}"
    yield f"progress  {counts(job)}"
    if left := outlook(job, datetime.now(UTC)):
        yield f"outlook   {left}"
    if job.HasField("error"):
        yield f"error     {job.error.reason}: {shown(job.error.message)}"
    for label, moment in (("created", job.create_time), ("ended", job.end_time)):
        if moment.seconds:
            yield f"{label:9} {local_time(moment.ToDatetime(UTC))}"
    for webhook in job.webhooks:
        state = pb.WebhookState.Name(webhook.state).removeprefix("WEBHOOK_STATE_")
        why = f", {shown(webhook.last_error)}" if webhook.last_error else ""
        yield f"webhook   {shown(webhook.url)} {state}, {webhook.attempt_count} attempts{why}"


def usage_lines(usage: pb.GetUsageResponse) -> Iterator[str]:
    """Yield the limits of a client and what it has used of them, one a line."""
    yield f"client    {shown(usage.client)}"
    for label, used, limit in (
        ("jobs", usage.running_jobs, usage.running_jobs_limit),
        ("calls", usage.open_calls, usage.open_calls_limit),
        ("watches", usage.open_watches, usage.open_watches_limit),
    ):
        yield f"{label:9} {used} of {_limit(limit)} at once"
    yield f"waiting   {usage.waiting_jobs} of {_limit(usage.waiting_jobs_limit)} jobs"
    yield f"watched   {usage.subscriptions} of {_limit(usage.subscriptions_limit)} cases"
    yield f"starts    {_limit(usage.starts_per_minute_limit)} a minute"
    yield f"repeats   {_limit(usage.repeats_per_minute_limit)} a minute"
    yield f"webhooks  {_limit(usage.webhooks_per_job_limit)} a job"
    yield f"stored    {usage.stored_documents} documents, {size(usage.stored_bytes)}"
    if usage.HasField("case_budget"):
        yield from _budget_lines(usage.case_budget)


def _budget_lines(budget: pb.CaseBudget) -> Iterator[str]:
    """Yield the used and allowed numbers of different cases."""
    parts: list[tuple[str, pb.CaseBudget | pb.CourtCaseBudget]] = [("all courts", budget)]
    parts += [(shown(court.court), court) for court in budget.courts]
    for name, part in parts:
        day = f"{part.cases_last_day} of {_limit(part.cases_per_day_limit)} in 24 h"
        month = f"{part.cases_last_30_days} of {_limit(part.cases_per_30_days_limit)} in 30 days"
        yield f"cases     {name}: {day}, {month}"


def _limit(value: int) -> str:
    return str(value) if value else "any number"


def failure(document: pb.Document) -> str:
    """Return one line about a failed document."""
    return f"failed: {shown(document.name, 60)}: {document.error.reason}: {document.error.message}"


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows with aligned columns."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    for row in rows:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(padded).rstrip()


def local_time(moment: datetime) -> str:
    """Return a time in the local zone, with its offset from UTC."""
    return moment.astimezone().isoformat(" ", "seconds")


def case_lines(case: pb.Case) -> Iterator[str]:
    """Yield the lines of a case: each instance with its parties and newest movements."""
    seal = ", sealed" if case.sealed else ""
    yield shown(f"{case.process_number}  {case.court}{seal}", 200)
    for each in case.proceedings:
        yield shown(f"{each.instance or '?'}  {each.case_class.name}  {each.unit}", 200)
        facts = (("filed", each.filed_local_time), ("value", each.value))
        for name, fact in facts:
            if fact:
                yield shown(f"  {name}: {fact}", 200)
        if each.subjects:
            yield shown(f"  subjects: {', '.join(term.name for term in each.subjects)}", 200)
        for party in each.parties[:MOST_PARTIES]:
            yield shown(f"  {party.side}: {party.name or '(hidden)'}", 200)
        yield from _rest("parties", len(each.parties) - MOST_PARTIES)
        for movement in each.movements[:MOST_MOVEMENTS]:
            yield shown(f"  {movement.local_time}  {movement.description}", 200)
        yield from _rest("movements", len(each.movements) - MOST_MOVEMENTS)


def _rest(what: str, count: int) -> Iterator[str]:
    if count > 0:
        yield f"  and {count} more {what}: see --json"
