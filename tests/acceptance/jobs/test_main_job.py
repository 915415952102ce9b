"""Test the main job, from the call to the webhook, on the real servers and processes."""

from __future__ import annotations

import hashlib

import requests

from autos.downloads.v1 import downloads_pb2 as pb
from tests.system.job_calls import documents, run, start
from tests.system.running_autos import Autos


def test_one_document_goes_from_the_call_to_the_webhook(autos: Autos) -> None:
    number = autos.portal.add_case(documents=1, size=30_000)
    path = "/one-document"

    job = run(autos, number, webhook_url=autos.receiver.url_of(path))

    assert job.state == pb.JOB_STATE_COMPLETED
    [document] = documents(autos, job)
    assert document.size_bytes == 30_000
    [delivery] = autos.receiver.wait_for(1, 60, path=path)
    assert delivery.is_verified
    assert delivery.payload["type"] == "download.completed"
    [sent] = delivery.payload["data"]["documents"]
    answer = requests.get(sent["url"], timeout=60)
    assert hashlib.sha256(answer.content).hexdigest() == document.sha256 == sent["sha256"]


def test_a_case_that_is_there_already_is_not_fetched_again(autos: Autos) -> None:
    number = autos.portal.add_case(documents=3)
    first = run(autos, number)

    again = start(autos, number)

    assert again.created
    assert again.job.job_id != first.job_id
    assert again.job.state == pb.JOB_STATE_COMPLETED
    assert again.job.progress.reused_documents == 3
    assert autos.portal.request_count(number) == 1
