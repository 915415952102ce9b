"""Check from the outside the promises that must hold after a kill."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import redis
from minio import Minio

from autos.downloads.v1 import downloads_pb2 as pb
from dev.processes.deadline import until
from storage.settings import Settings
from tests.killpoints.trials import Trial, call_until_answered, path_of
from tests.killpoints.triggers import Death, Triggers
from tests.sandbox.court_cases.case_model import SandboxCase
from tests.system.bucket import StoredBucket, sandbox_sha256
from tests.system.job_calls import documents
from tests.system.running_autos import Autos

ABSENCE_S = 120.0
QUEUES_S = 60.0
EVENT_TYPES = {
    pb.JOB_STATE_COMPLETED: "download.completed",
    pb.JOB_STATE_PARTIALLY_COMPLETED: "download.partially_completed",
    pb.JOB_STATE_FAILED: "download.failed",
    pb.JOB_STATE_CANCELLED: "download.cancelled",
}


def check(autos: Autos, trial: Trial, deaths: Sequence[Death]) -> None:
    """Check that the job ended once, in the right state, with every document stored or explained.

    `deaths` are all kills of the stack: each one during the trial may have cost a request.
    """
    name = trial.point.name
    assert len(trial.deaths) == len(trial.point.seams), f"{name}: {trial.deaths}"
    case = autos.portal.case(trial.job.process_number)
    assert case
    assert trial.job.state == _expected_state(trial, case), f"{name}: {trial.job}"
    _check_documents(autos, trial, case)
    _check_webhooks(autos, trial, _count(trial, deaths, "notifier"))
    _check_requests(autos, trial, case, _count(trial, deaths, "worker"))


def _count(trial: Trial, deaths: Iterable[Death], role: str) -> int:
    return sum(d.role == role and trial.began <= d.time <= trial.ended for d in deaths)


def _expected_state(trial: Trial, case: SandboxCase) -> int:
    if trial.point.action == "cancel":
        return pb.JOB_STATE_CANCELLED
    good = sum(document.fault is None for document in case.documents)
    if good == len(case.documents):
        return pb.JOB_STATE_COMPLETED
    return pb.JOB_STATE_PARTIALLY_COMPLETED if good else pb.JOB_STATE_FAILED


def _check_documents(autos: Autos, trial: Trial, case: SandboxCase) -> None:
    bucket = StoredBucket(autos)
    found = documents(autos, trial.job)
    assert len(found) == len(case.documents)
    for source, document in zip(case.documents, found, strict=True):
        if trial.point.action == "cancel":
            assert document.state == pb.DOCUMENT_STATE_CANCELLED
        elif source.fault:
            assert document.state == pb.DOCUMENT_STATE_FAILED
            assert document.error.reason == "NO_ACCESS"
        else:
            assert document.state == pb.DOCUMENT_STATE_AVAILABLE, f"{trial.point.name}: {document}"
            assert document.sha256 == sandbox_sha256(source) == bucket.sha256(document.object_key)
            # A busy machine may cost one attempt its connection; a kill costs none.
            assert document.attempt_count in (1, 2), f"{trial.point.name}: {document}"


def _check_webhooks(autos: Autos, trial: Trial, notifiers_lost: int) -> None:
    deliveries = autos.receiver.deliveries_at(path_of(trial.job.process_number))
    by_id = {each.webhook_id for each in deliveries}
    assert len(by_id) == trial.ends, f"{trial.point.name}: {by_id}"
    assert all(each.is_verified for each in deliveries)
    assert {each.payload["type"] for each in deliveries} == {EVENT_TYPES[trial.job.state]}
    assert len(deliveries) <= trial.ends + notifiers_lost


def _check_requests(autos: Autos, trial: Trial, case: SandboxCase, workers_lost: int) -> None:
    """Check that each lost worker caused at most one repeated request."""
    portal, name = autos.portal, trial.point.name
    assert 1 <= portal.request_count(trial.job.process_number) <= 1 + workers_lost, name
    for document in case.documents:
        times = portal.request_count(document.uuid)
        assert times <= trial.ends + workers_lost, f"{name}: {times} times"


def check_leftovers(autos: Autos, flags: Triggers, trials: Sequence[Trial]) -> None:
    """Check that spool and bucket are clean, no end is repeated, and no bug was logged."""
    spool = Path(autos.stack.env["DATA_DIR"]) / "spool"
    until(lambda: not list(spool.glob("*.part")), ABSENCE_S, "Files stay in the spool.")
    until(lambda: not _open_uploads(autos), ABSENCE_S, "Multipart uploads stay open.")
    for trial in trials:
        _check_case(autos, trial)
    assert [path.name for path in flags.folder.iterdir() if path.name != "deaths"] == []
    assert [line for line in autos.lines if '"level": "error"' in line] == []


def _check_case(autos: Autos, trial: Trial) -> None:
    now = call_until_answered(autos.api.GetStatus, pb.GetStatusRequest(job_id=trial.job.job_id)).job
    assert (now.state, now.end_time) == (trial.job.state, trial.job.end_time)
    named = {d.object_key for d in documents(autos, now) if d.object_key}
    bucket, number = StoredBucket(autos), now.process_number
    until(
        lambda: bucket.keys_of_case(number) == named,
        ABSENCE_S,
        f"{trial.point.name}: {bucket.keys_of_case(number)} instead of {named}",
    )


def _open_uploads(autos: Autos) -> list[str]:
    settings = Settings.from_env(autos.stack.env)
    client = Minio(
        urlsplit(settings.s3_endpoint_url).netloc,
        access_key=settings.s3_access_key_id,
        secret_key=settings.s3_secret_access_key,
        secure=False,
        region=settings.s3_region,
    )
    listed = client._list_multipart_uploads(settings.s3_bucket)
    return [str(upload.object_name) for upload in listed.uploads]


def check_queues(autos: Autos) -> None:
    """Check that no message is left in any queue; those of killed processes return after 15 s."""
    with redis.Redis.from_url(autos.stack.env["REDIS_URL"]) as client:
        until(
            lambda: not any(client.hlen(key) for key in client.scan_iter("autos:*.msgs")),
            QUEUES_S,
            "Messages stay in the queues.",
        )
