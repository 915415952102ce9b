"""Calls that acceptance tests make again and again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autos.downloads.v1 import downloads_pb2 as pb
from dev.processes.deadline import until
from tests.system.running_autos import Autos

DEADLINE_S = 60.0
CALL_S = 60.0


def start(autos: Autos, number: str, **fields: Any) -> pb.StartDownloadResponse:
    """Call StartDownload and return the job."""
    request = pb.StartDownloadRequest(process_number=number, **fields)
    response: pb.StartDownloadResponse = autos.api.StartDownload(request, timeout=CALL_S)
    return response


def finish(autos: Autos, job_id: str, *, deadline_s: float = DEADLINE_S) -> pb.Job:
    """Watch the job until it ends and return it as WatchProgress sent it last."""
    stream = autos.api.WatchProgress(pb.WatchProgressRequest(job_id=job_id), timeout=deadline_s)
    *_, last = stream
    job: pb.Job = last.job
    return job


def run(autos: Autos, number: str, **fields: Any) -> pb.Job:
    """Start a job and return it once it has ended."""
    return finish(autos, start(autos, number, **fields).job.job_id)


def documents(autos: Autos, job: pb.Job) -> list[pb.Document]:
    """Return all documents of a job."""
    request = pb.ListDocumentsRequest(job_id=job.job_id, page_size=1000)
    return list(autos.api.ListDocuments(request, timeout=CALL_S).documents)


def status(autos: Autos, job_id: str) -> pb.Job:
    """Return the current state of the job."""
    request = pb.GetStatusRequest(job_id=job_id)
    job: pb.Job = autos.api.GetStatus(request, timeout=CALL_S).job
    return job


def await_job(
    autos: Autos,
    job_id: str,
    condition: Callable[[pb.Job], bool],
    *,
    deadline_s: float = DEADLINE_S,
) -> pb.Job:
    """Return the job as soon as `condition` holds for it; raise TimeoutError otherwise."""
    seen = [status(autos, job_id)]

    def holds() -> bool:
        seen[0] = status(autos, job_id)
        return condition(seen[0])

    until(holds, deadline_s, f"The job never came so far: {seen[0]}")
    return seen[0]


def await_rest_given_back(autos: Autos, job: pb.Job, requested: int) -> None:
    """Wait until slices with a held first request have given back their other documents.

    Until then the workers might request those documents, and giving them back changes the job.
    """
    downloading = pb.DOCUMENT_STATE_DOWNLOADING
    until(
        lambda: sum(each.state == downloading for each in documents(autos, job)) <= requested,
        DEADLINE_S,
        "nothing is given back",
    )
