"""Watching a case, from the call to the webhook."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg2

from autos.downloads.v1 import downloads_pb2 as pb
from dev.processes.deadline import until
from tests.system.job_calls import finish
from tests.system.running_autos import Autos

DEADLINE_S = 60.0
PATH = "/watched"


def _row(autos: Autos, statement: str, number: str) -> Any:
    url = autos.stack.env["DATABASE_URL"]
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement, [number])
        return cursor.fetchone() if cursor.description else None


def _let_due(autos: Autos, number: str) -> None:
    _row(autos, "UPDATE subscriptions SET next_time = now() WHERE process_number = %s", number)


def _has_baseline(autos: Autos, number: str) -> bool:
    select = "SELECT 1 FROM subscriptions WHERE baseline IS NOT NULL AND process_number = %s"
    return _row(autos, select, number) is not None


def test_a_change_reaches_the_webhook_and_the_log(autos: Autos) -> None:
    number = autos.portal.add_case(documents=1)
    wanted = pb.SubscribeCaseRequest(process_number=number, webhook_url=autos.receiver.url_of(PATH))
    autos.api.SubscribeCase(wanted, timeout=60)
    _let_due(autos, number)
    until(lambda: _has_baseline(autos, number), DEADLINE_S, "The case is not listed.")
    autos.portal.add_case(documents=2, number=number)

    _let_due(autos, number)

    [delivery] = autos.receiver.wait_for(1, DEADLINE_S, PATH)
    assert delivery.is_verified
    assert (delivery.payload["type"], delivery.payload["data"]["process_number"]) == (
        "case.changed",
        number,
    )
    [new] = delivery.payload["data"]["change"]["new_document_ids"]
    listed = autos.api.ListSubscriptions(pb.ListSubscriptionsRequest(), timeout=60)
    [watched] = [each for each in listed.subscriptions if each.process_number == number]
    job = finish(autos, watched.last_job_id)
    assert (job.progress.completed_documents, job.progress.skipped_documents) == (1, 1)
    document = autos.api.GetDocument(
        pb.GetDocumentRequest(job_id=job.job_id, document_id=new), timeout=60
    ).document
    assert document.state == pb.DOCUMENT_STATE_AVAILABLE
    assert delivery.webhook_id in {hook.webhook_id for hook in job.webhooks}
    autos.api.UnsubscribeCase(pb.UnsubscribeCaseRequest(process_number=number), timeout=60)
