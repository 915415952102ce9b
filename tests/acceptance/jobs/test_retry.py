"""Test RetryJob and RedeliverWebhook: a new run of the same job, and the same event sent again."""

from __future__ import annotations

from uuid import uuid4

import grpc
import pytest

from autos.downloads.v1 import downloads_pb2 as pb
from dev.processes.deadline import until
from tests.system.job_calls import documents, finish, run, start, status
from tests.system.refused_calls import refusal
from tests.system.running_autos import Autos


def _half_failed(autos: Autos, **fields: str) -> pb.Job:
    number = autos.portal.add_case(documents=4, faults={1: "file-404", 3: "codex-500"})
    job = run(autos, number, **fields)
    assert job.state == pb.JOB_STATE_PARTIALLY_COMPLETED
    return job


def _hook(autos: Autos, job: pb.Job) -> pb.Webhook:
    now = autos.api.GetStatus(pb.GetStatusRequest(job_id=job.job_id), timeout=60).job
    hook: pb.Webhook
    [hook] = now.webhooks
    return hook


def test_only_what_failed_is_fetched_again(autos: Autos) -> None:
    job = _half_failed(autos)
    before = {d.document_id: d for d in documents(autos, job)}
    requests_before = len(autos.portal.requests)

    again = autos.api.RetryJob(pb.RetryJobRequest(job_id=job.job_id), timeout=60).job
    assert again.job_id == job.job_id
    assert again.state == pb.JOB_STATE_PROCESSING
    assert again.progress.failed_documents == 0
    assert not again.HasField("end_time")
    ended = finish(autos, job.job_id)

    assert ended.state == pb.JOB_STATE_PARTIALLY_COMPLETED
    new_requests = autos.portal.requests[requests_before:]
    files = [r for r in new_requests if r.kind == "file" and r.number == job.process_number]
    # One attempt for a file that the portal does not have, three for an answer of 500.
    assert len(files) == 1 + 3
    assert not [r for r in new_requests if r.kind == "list" and r.number == job.process_number]
    for document in documents(autos, ended):
        old = before[document.document_id]
        if old.state == pb.DOCUMENT_STATE_AVAILABLE:
            assert document == old
        else:
            assert document.revision > old.revision


def test_the_new_end_is_a_new_event(autos: Autos) -> None:
    path = "/retry-new-event"
    job = _half_failed(autos, webhook_url=autos.receiver.url_of(path))
    [first] = autos.receiver.wait_for(1, 60, path=path)

    autos.api.RetryJob(pb.RetryJobRequest(job_id=job.job_id), timeout=60)
    finish(autos, job.job_id)

    _, second = autos.receiver.wait_for(2, 60, path=path)
    assert second.is_verified
    assert second.webhook_id != first.webhook_id
    assert second.payload["data"]["job"]["revision"] > first.payload["data"]["job"]["revision"]


def test_the_same_request_id_starts_no_second_run(autos: Autos) -> None:
    job = _half_failed(autos)
    request = pb.RetryJobRequest(job_id=job.job_id, request_id=str(uuid4()))

    autos.api.RetryJob(request, timeout=60)
    ended = finish(autos, job.job_id)
    repeated = autos.api.RetryJob(request, timeout=60).job

    assert repeated.revision == ended.revision
    assert repeated.state == ended.state
    other = pb.RetryJobRequest(job_id=_half_failed(autos).job_id, request_id=request.request_id)
    found = refusal(autos, "RetryJob", other)
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")


def test_a_failed_listing_lists_again(autos: Autos) -> None:
    number = autos.portal.add_case(documents=2, list_fault="list-500")
    job = run(autos, number)
    assert job.state == pb.JOB_STATE_FAILED
    new_requests = autos.portal.request_count(number)

    autos.api.RetryJob(pb.RetryJobRequest(job_id=job.job_id), timeout=60)
    assert finish(autos, job.job_id).state == pb.JOB_STATE_FAILED

    assert autos.portal.request_count(number) == 2 * new_requests


def test_an_impossible_retry_is_refused_with_its_reason(autos: Autos) -> None:
    complete = run(autos, autos.portal.add_case(documents=1))
    found = refusal(autos, "RetryJob", pb.RetryJobRequest(job_id=complete.job_id))
    assert (found.code, found.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "NOTHING_TO_RETRY",
    )

    number = autos.portal.add_case(documents=1)
    autos.portal.hold(number)
    running = start(autos, number).job
    found = refusal(autos, "RetryJob", pb.RetryJobRequest(job_id=running.job_id))
    retold = refusal(autos, "RedeliverWebhook", pb.RedeliverWebhookRequest(job_id=running.job_id))
    autos.portal.release(number)
    assert found.reason == "JOB_NOT_ENDED"
    assert (retold.code, retold.reason) == (found.code, found.reason)
    finish(autos, running.job_id)


def test_a_case_that_runs_under_a_newer_job_is_named(autos: Autos) -> None:
    old = _half_failed(autos)
    autos.portal.hold(old.process_number)
    newer = start(autos, old.process_number).job
    found = refusal(autos, "RetryJob", pb.RetryJobRequest(job_id=old.job_id))
    autos.portal.release(old.process_number)

    assert found.reason == "CASE_ACTIVE"
    assert newer.job_id in found.text
    finish(autos, newer.job_id)


def test_the_same_end_is_sent_again_under_its_webhook_id(autos: Autos) -> None:
    path = "/redeliver"
    job = _half_failed(autos, webhook_url=autos.receiver.url_of(path))
    [first] = autos.receiver.wait_for(1, 60, path=path)
    until(lambda: bool(_hook(autos, job).attempts), 60, "the attempt is not on record")

    autos.api.RedeliverWebhook(pb.RedeliverWebhookRequest(job_id=job.job_id), timeout=60)

    _, second = autos.receiver.wait_for(2, 60, path=path)
    assert second.webhook_id == first.webhook_id
    assert second.is_verified
    assert second.payload["data"]["job"] == first.payload["data"]["job"]
    until(lambda: len(_hook(autos, job).attempts) == 2, 60, "the second is not on record")
    assert [(a.number, a.status_code) for a in _hook(autos, job).attempts] == [(1, 204), (2, 204)]


def test_a_repeated_redelivery_sends_nothing_more(autos: Autos) -> None:
    path = "/redeliver-once"
    job = _half_failed(autos, webhook_url=autos.receiver.url_of(path))
    until(lambda: bool(_hook(autos, job).attempts), 60, "the attempt is not on record")
    again = pb.RedeliverWebhookRequest(job_id=job.job_id, request_id=str(uuid4()))

    autos.api.RedeliverWebhook(again, timeout=60)
    until(lambda: len(_hook(autos, job).attempts) == 2, 60, "the second is not on record")
    answered = autos.api.RedeliverWebhook(again, timeout=60).job

    assert answered.webhooks[0].state == pb.WEBHOOK_STATE_DELIVERED
    assert answered.revision == status(autos, job.job_id).revision
    other = run(autos, autos.portal.add_case(documents=1), webhook_url=autos.receiver.url_of(path))
    elsewhere = pb.RedeliverWebhookRequest(job_id=other.job_id, request_id=again.request_id)
    reused = refusal(autos, "RedeliverWebhook", elsewhere)
    assert (reused.code, reused.reason) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "REQUEST_ID_REUSED",
    )
    retried = refusal(
        autos, "RetryJob", pb.RetryJobRequest(job_id=job.job_id, request_id=again.request_id)
    )
    assert retried.reason == "REQUEST_ID_REUSED"


@pytest.mark.parametrize("method", ["RetryJob", "RedeliverWebhook"])
def test_an_unknown_job_is_not_found(autos: Autos, method: str) -> None:
    found = refusal(autos, method, getattr(pb, f"{method}Request")(job_id=str(uuid4())))
    assert (found.code, found.reason) == (grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")


def test_a_job_without_a_webhook_has_none_to_send_again(autos: Autos) -> None:
    job = run(autos, autos.portal.add_case(documents=1))
    found = refusal(autos, "RedeliverWebhook", pb.RedeliverWebhookRequest(job_id=job.job_id))
    assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_WEBHOOK")
