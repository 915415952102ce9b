"""Test the webhook: every end is delivered once, signed, in full, whatever the receiver does."""

from __future__ import annotations

import hashlib
import operator
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
import requests
from google.protobuf.json_format import Parse
from google.protobuf.timestamp_pb2 import Timestamp

from autos.downloads.v1 import downloads_pb2 as pb
from autos.json_form import as_json
from dev.processes.deadline import until
from tests.sandbox.court_cases.cases import CASES
from tests.sandbox.receivers.deliveries import Delivery
from tests.sandbox.receivers.webhook_receiver import WebhookReceiver
from tests.system.job_calls import await_job, documents, finish, run, start, status
from tests.system.running_autos import Autos

# Fields that change after the end because the webhook was delivered.
LATER = {"webhooks", "revision", "update_time"}
DELIVERED, FAILED = pb.WEBHOOK_STATE_DELIVERED, pb.WEBHOOK_STATE_FAILED
# The planned delays after the first attempt and after the second, plus or minus a fifth.
PAUSES_S = (5.0, 300.0)
LEAST, MOST = 0.8, 1.2
# A busy machine may delay an attempt, but not by as much as the scheduler's one minute.
SLACK_S = 20.0
# Number of webhooks that hang: more than the notifier has threads.
HANGING = 20


def _completed(autos: Autos, url: str) -> pb.Job:
    return run(autos, autos.portal.add_case(documents=3), webhook_url=url)


def _partially_completed(autos: Autos, url: str) -> pb.Job:
    faults = {1: "codex-500", 2: "no-href"}
    return run(autos, autos.portal.add_case(documents=4, faults=faults), webhook_url=url)


def _not_listed(autos: Autos, url: str) -> pb.Job:
    number = autos.portal.add_case(documents=1, list_fault="no-access")
    return run(autos, number, webhook_url=url)


def _all_failed(autos: Autos, url: str) -> pb.Job:
    faults = {0: "file-404", 1: "foreign-href"}
    return run(autos, autos.portal.add_case(documents=2, faults=faults), webhook_url=url)


def _cancelled(autos: Autos, url: str) -> pb.Job:
    number = autos.portal.add_case(documents=8)
    autos.portal.hold(number)
    job = start(autos, number, webhook_url=url).job
    autos.portal.wait_held(number, 5)
    ended: pb.Job = autos.api.CancelJob(pb.CancelJobRequest(job_id=job.job_id), timeout=60).job
    autos.portal.release(number)
    return ended


OUTCOMES: dict[str, Callable[[Autos, str], pb.Job]] = {
    "completed": _completed,
    "partially_completed": _partially_completed,
    "not_listed": _not_listed,
    "all_failed": _all_failed,
    "cancelled": _cancelled,
}
TYPES = {
    "completed": "download.completed",
    "partially_completed": "download.partially_completed",
    "not_listed": "download.failed",
    "all_failed": "download.failed",
    "cancelled": "download.cancelled",
}


def _settled(autos: Autos, job: pb.Job) -> pb.Job:
    """Return the job once all its webhooks are delivered or abandoned."""
    return await_job(
        autos,
        job.job_id,
        lambda job: all(hook.state in {DELIVERED, FAILED} for hook in job.webhooks),
    )


def _attempted(autos: Autos, job: pb.Job, count: int = 1) -> pb.Webhook:
    """Return the job's only webhook after `attempts` attempts."""
    seen = await_job(autos, job.job_id, lambda job: job.webhooks[0].attempt_count >= count)
    assert len(seen.webhooks) == 1
    return seen.webhooks[0]


def _seconds(moment: Timestamp) -> float:
    """Return the seconds since 1970."""
    return moment.ToNanoseconds() / 1e9


def _data_without_times(delivery: Delivery) -> dict[str, Any]:
    assert delivery.is_verified
    assert delivery.method == "POST"
    assert delivery.headers["content-type"] == "application/json"
    data: dict[str, Any] = delivery.payload["data"]
    return data


@pytest.fixture(scope="module")
def hanging(autos: Autos, second_port: int) -> Iterator[list[pb.Job]]:
    """Return jobs with a silent receiver; the first test starts them, the last sees the end.

    All end in the same moment, so that no webhook is abandoned before the last one starts.
    """
    with WebhookReceiver(port=second_port) as receiver:
        receiver.answer(behaviour="hang", times=None)
        numbers = [autos.portal.add_case(documents=1) for _ in range(HANGING)]
        for number in numbers:
            autos.portal.hold(number)
        jobs = [start(autos, number, webhook_url=receiver.url).job for number in numbers]
        for number in numbers:
            autos.portal.wait_held(number)
        for number in numbers:
            autos.portal.release(number)
        yield [finish(autos, job.job_id) for job in jobs]


@pytest.fixture(scope="module")
def dripping(autos: Autos) -> pb.Job:
    """Return a job with a receiver that sends its status and then single bytes without an end."""
    autos.receiver.answer(behaviour="drip", path="/drips")
    return _completed(autos, autos.receiver.url_of("/drips"))


def test_a_receiver_that_hangs_delays_no_other(
    autos: Autos, hanging: list[pb.Job], dripping: pb.Job
) -> None:
    other = _settled(autos, _completed(autos, autos.receiver.url_of("/patient")))

    assert other.webhooks[0].state == DELIVERED
    # The delivery came while all of those still hung, which they do for 15 s.
    for job in (*hanging, dripping):
        assert status(autos, job.job_id).webhooks[0].attempt_count == 0


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_every_end_is_sent_once_and_in_full(autos: Autos, outcome: str) -> None:
    path = f"/outcome/{outcome}"

    ended = OUTCOMES[outcome](autos, autos.receiver.url_of(path))

    job = _settled(autos, ended)
    [delivery] = autos.receiver.deliveries_at(path)
    [hook] = job.webhooks
    assert (hook.state, hook.attempt_count, hook.last_status_code) == (DELIVERED, 1, 204)
    assert hook.webhook_id == delivery.webhook_id
    data = _data_without_times(delivery)
    assert delivery.payload.keys() == {"type", "timestamp", "data"}
    assert delivery.payload["type"] == TYPES[outcome]
    assert delivery.payload["timestamp"] == job.end_time.ToJsonString()
    now = as_json(job)
    assert {name: value for name, value in data["job"].items() if name not in LATER} == {
        name: value for name, value in now.items() if name not in LATER
    }
    assert int(data["job"]["revision"]) <= job.revision
    _check_documents(data["documents"], documents(autos, job))
    _check_message(delivery)


def _check_message(delivery: Delivery) -> None:
    """Assert that the body is WebhookEvent in JSON and that parsing it loses no field."""
    event = Parse(delivery.body, pb.WebhookEvent())
    again = as_json(event)
    again["data"].setdefault("documents", [])
    assert again == delivery.payload
    for document in event.data.documents:
        assert bool(document.url) == document.HasField("url_expire_time")
        assert not (document.url and document.sealed)


def _check_documents(sent: list[dict[str, Any]], listed: list[pb.Document]) -> None:
    bare = [
        {name: value for name, value in each.items() if name not in {"url", "url_expire_time"}}
        for each in sent
    ]
    assert bare == [as_json(each) for each in listed]
    for each in sent:
        is_available = each["state"] == "DOCUMENT_STATE_AVAILABLE"
        assert ("url" in each) == ("url_expire_time" in each) == is_available
        if is_available:
            answer = requests.get(each["url"], timeout=60)
            assert hashlib.sha256(answer.content).hexdigest() == each["sha256"]
            assert len(answer.content) == int(each["size_bytes"])
            assert datetime.fromisoformat(each["url_expire_time"]).timestamp() > time.time() + 600


@pytest.mark.parametrize("case", ["sealed", "sealed-case"])
def test_a_webhook_has_no_url_name_hash_or_key_of_a_sealed_document(
    autos: Autos, case: str
) -> None:
    path = f"/{case}"
    job = run(autos, CASES[case].number, webhook_url=autos.receiver.url_of(path))

    [delivery] = autos.receiver.wait_for(1, 60, path=path)

    event = Parse(delivery.body, pb.WebhookEvent())
    told = {each.document_id: each for each in event.data.documents}
    listed = {each.document_id: each for each in documents(autos, job)}
    assert told.keys() == listed.keys()
    sealed = [each for each in listed.values() if each.sealed]
    assert sealed
    assert all(each.name and each.sha256 and each.object_key for each in sealed)
    for each in sealed:
        there = told[each.document_id]
        assert there.sealed
        assert not any((there.url, there.name, there.sha256, there.object_key))
        assert each.sha256.encode() not in delivery.body
        assert each.object_key.encode() not in delivery.body
    for each in listed.values():
        assert each.sealed or told[each.document_id].url
        assert each.sealed or told[each.document_id].name == each.name


def test_a_refused_attempt_is_made_again_under_the_same_id(autos: Autos) -> None:
    path = "/refused-once"
    autos.receiver.answer(status=500, path=path)
    job = _completed(autos, autos.receiver.url_of(path))

    [hook] = _settled(autos, job).webhooks

    first, second = autos.receiver.wait_for(2, 60, path=path)
    refused, accepted = hook.attempts
    assert (refused.status_code, accepted.status_code) == (500, 204)
    assert refused.error
    assert second.time - first.time >= LEAST * PAUSES_S[0]
    assert second.time - _seconds(refused.attempt_time) <= MOST * PAUSES_S[0] + SLACK_S
    assert first.webhook_id == second.webhook_id == hook.webhook_id
    assert int(second.headers["webhook-timestamp"]) > int(first.headers["webhook-timestamp"])
    assert second.headers["webhook-signature"] != first.headers["webhook-signature"]
    first_data, second_data = _data_without_times(first), _data_without_times(second)
    assert first_data["job"] == second_data["job"]
    _check_documents(second_data["documents"], documents(autos, job))
    assert (hook.state, hook.attempt_count, hook.last_error) == (DELIVERED, 2, "")
    assert hook.HasField("delivered_time")


def test_a_receiver_that_answers_410_gets_no_other_attempt(autos: Autos) -> None:
    autos.receiver.answer(status=410, path="/gone", times=None)

    job = _completed(autos, autos.receiver.url_of("/gone"))

    [hook] = _settled(autos, job).webhooks
    assert (hook.state, hook.attempt_count, hook.last_status_code) == (FAILED, 1, 410)
    assert not hook.HasField("next_attempt_time")
    assert len(autos.receiver.deliveries_at("/gone")) == 1


def test_a_redirect_is_a_refusal_and_is_not_followed(autos: Autos) -> None:
    elsewhere = autos.receiver.url_of("/redirected")
    location = {"Location": elsewhere}
    autos.receiver.answer(status=307, headers=location, path="/redirects", times=None)

    job = _completed(autos, autos.receiver.url_of("/redirects"))

    hook = _attempted(autos, job)
    assert (hook.state, hook.last_status_code) == (pb.WEBHOOK_STATE_PENDING, 307)
    assert autos.receiver.deliveries_at("/redirected") == []


@pytest.mark.parametrize("retry_after", ["1", "7", "3600"])
def test_retry_after_counts_between_once_and_twice_the_planned_pause(
    autos: Autos, retry_after: str
) -> None:
    path = f"/retry-after/{retry_after}"
    headers = {"Retry-After": retry_after}
    autos.receiver.answer(status=503, headers=headers, path=path, times=None)

    job = _completed(autos, autos.receiver.url_of(path))

    # After the first attempt, or, if the test was slow, after the second.
    hook = _attempted(autos, job)
    planned_s, requested_s = PAUSES_S[len(hook.attempts) - 1], float(retry_after)
    pause_s = _seconds(hook.next_attempt_time) - _seconds(hook.attempts[-1].attempt_time)
    for part, holds in ((LEAST, operator.ge), (MOST, operator.le)):
        once_s, twice_s = part * planned_s, 2 * part * planned_s
        assert holds(round(pause_s, 1), max(once_s, min(requested_s, twice_s)))


def test_a_closed_connection_is_a_failed_attempt(autos: Autos) -> None:
    autos.receiver.answer(behaviour="close", path="/closes", times=None)

    job = _completed(autos, autos.receiver.url_of("/closes"))

    hook = _attempted(autos, job)
    assert (hook.state, hook.last_status_code) == (pb.WEBHOOK_STATE_PENDING, 0)
    assert "closed the connection" in hook.last_error


def test_an_endless_answer_is_not_read_to_its_end(autos: Autos) -> None:
    autos.receiver.answer(behaviour="flood", path="/floods")

    job = _completed(autos, autos.receiver.url_of("/floods"))

    [hook] = _settled(autos, job).webhooks
    assert (hook.state, hook.attempt_count) == (DELIVERED, 1)


def test_a_name_that_does_not_resolve_fails_the_attempt_and_not_the_webhook(autos: Autos) -> None:
    job = _completed(autos, "https://receiver.nowhere/hook?token=planted-query")

    hook = _attempted(autos, job)

    assert hook.state == pb.WEBHOOK_STATE_PENDING
    assert hook.HasField("next_attempt_time")
    assert "receiver.nowhere" in hook.last_error
    assert hook.url == "https://receiver.nowhere/hook"


def test_two_callers_of_one_job_both_get_a_webhook(autos: Autos) -> None:
    number = autos.portal.add_case(documents=2)
    autos.portal.hold(number)
    first = start(autos, number, webhook_url=autos.receiver.url_of("/both/first"))
    autos.portal.wait_held(number, 2)
    second = start(autos, number, webhook_url=autos.receiver.url_of("/both/second"))
    autos.portal.release(number)

    job = _settled(autos, finish(autos, first.job.job_id))

    assert (first.created, second.created) == (True, False)
    assert second.job.job_id == first.job.job_id
    sent = [autos.receiver.deliveries_at(f"/both/{which}") for which in ("first", "second")]
    [[one], [other]] = sent
    assert _data_without_times(one)["job"] == _data_without_times(other)["job"]
    assert [hook.webhook_id for hook in job.webhooks] == [one.webhook_id, other.webhook_id]
    assert one.webhook_id != other.webhook_id


def test_a_receiver_that_hangs_is_a_failed_attempt(autos: Autos, hanging: list[pb.Job]) -> None:
    def attempted() -> list[pb.Webhook]:
        hooks = [status(autos, job.job_id).webhooks[0] for job in hanging]
        return [hook for hook in hooks if hook.attempt_count]

    until(lambda: bool(attempted()), 60, "No attempt ended.")

    for hook in attempted():
        assert (hook.state, hook.last_status_code) == (pb.WEBHOOK_STATE_PENDING, 0)
        assert "15 seconds" in hook.last_error


def test_the_status_counts_although_the_rest_of_the_answer_never_comes(
    autos: Autos, dripping: pb.Job
) -> None:
    assert _settled(autos, dripping).webhooks[0].state == DELIVERED
