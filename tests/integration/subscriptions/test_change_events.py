"""The event of a change: its webhook, its place in the log, and its receiver's failures."""

from __future__ import annotations

import json
from uuid import UUID

import pytest

from actors.messaging.enqueuer import Enqueuer, make_broker
from actors.resilience.exchange_deadline import Watchdog
from actors.webhook.signed_posts import SignedPosts
from actors.webhook.webhook_client import WebhookClient
from actors.webhook.webhook_sender import WebhookSender
from dev.embedded.embedded_servers import EmbeddedServers
from storage.clients.webhook_secrets import WebhookSecrets
from storage.errors import EventsGone
from storage.events import event_log
from storage.jobs import job_queries
from storage.objects.object_store import Objects
from storage.postgres.database import Database
from storage.selections.selection import NOTHING
from storage.subscriptions.subscription_rows import GONE, MOST_FAILED
from storage.webhook_policy import WebhookPolicy
from storage.webhooks import webhook_rows
from storage.webhooks.webhook_rows import WebhookDelivery
from tests.integration.harness import factories
from tests.integration.harness.factories import CLIENT, HOOK
from tests.integration.harness.pipeline_harness import PipelineHarness
from tests.integration.subscriptions.watching import (
    changes,
    jobs,
    look,
    subscription,
    watch,
    watched_case,
)

MONTH_S = 30 * 86_400
POSITION = -1


def _changed(pipeline: PipelineHarness, number: str, documents: int) -> UUID:
    """Let a look find other documents. Return the job that holds the event."""
    pipeline.sandbox.add_case(documents=documents, number=number)
    look(pipeline)
    return jobs(pipeline.database)[-1]["job_id"]  # type: ignore[no-any-return]


def _claimed(database: Database, job_id: UUID) -> WebhookDelivery:
    delivery = webhook_rows.claim(database, job_id, POSITION, lease_s=30)
    assert delivery
    return delivery


def _refused(database: Database, job_id: UUID, status_code: int) -> None:
    """Let the last attempt at a webhook fail."""
    webhook_rows.refused(
        database,
        _claimed(database, job_id),
        status_code=status_code,
        error="No.",
        retry_after_s=None,
        is_final=True,
    )


def test_the_webhook_says_what_has_changed(
    pipeline: PipelineHarness, objects: Objects, servers: EmbeddedServers
) -> None:
    number = watched_case(pipeline, webhook_url=HOOK)
    pipeline.sent()
    job_id = _changed(pipeline, number, 3)

    sent = [(queue, *map(str, args)) for queue, args in pipeline.sent()]
    assert ("webhook", str(job_id), str(POSITION)) in sent
    delivery = _claimed(pipeline.database, job_id)
    posts = SignedPosts(WebhookClient(WebhookPolicy(), Watchdog()), WebhookSecrets([]))
    messages = Enqueuer(make_broker(servers.env["REDIS_URL"], timeout_s=1))
    sender = WebhookSender(pipeline.database, objects, posts, messages)
    body = json.loads(sender.body(delivery))

    [event] = changes(pipeline.database)
    assert body["type"] == "case.changed"
    assert body["data"]["process_number"] == number
    [new] = body["data"]["change"]["new_document_ids"]
    assert [str(row["document_id"]) for row in factories.documents(pipeline.database, job_id)][
        2
    ] == new
    assert delivery.webhook_id == event.webhook_id


def test_a_call_that_joins_gets_the_end_of_the_job_under_the_same_url(
    pipeline: PipelineHarness,
) -> None:
    number = watched_case(pipeline, webhook_url=HOOK)
    job_id = _changed(pipeline, number, 3)
    factories.execute(
        pipeline.database,
        "UPDATE jobs SET state = 'PROCESSING', end_time = NULL, completed_documents = 0",
    )

    wanted = factories.request(number, webhook_url=HOOK, wants=NOTHING)
    view, is_new = factories.start(pipeline.database, wanted)

    assert not is_new
    assert [hook.position for hook in view.webhooks] == [POSITION, 0]
    assert view.job.job_id == job_id


@pytest.mark.parametrize(
    ("status_code", "failures"), [(GONE, 1), (503, MOST_FAILED)], ids=["gone", "failing"]
)
def test_a_receiver_that_accepts_no_more_events_pauses_its_subscription(
    pipeline: PipelineHarness, status_code: int, failures: int
) -> None:
    number = watched_case(pipeline, webhook_url=HOOK, list_only=True)
    for count in range(failures):
        assert subscription(pipeline.database)["next_time"]
        _refused(pipeline.database, _changed(pipeline, number, 3 + count), status_code)

    paused = subscription(pipeline.database)
    assert paused["next_time"] is None
    # What changes meanwhile is found when the client subscribes again.
    requests = pipeline.sandbox.request_count(number)
    _changed(pipeline, number, 20)
    assert pipeline.sandbox.request_count(number) == requests
    assert watch(pipeline.database, number, webhook_url=HOOK).next_time
    _changed(pipeline, number, 20)
    assert len(changes(pipeline.database)) == failures + 1


def test_only_failures_in_a_row_count(pipeline: PipelineHarness) -> None:
    number = watched_case(pipeline, webhook_url=HOOK, list_only=True)
    _refused(pipeline.database, _changed(pipeline, number, 3), 503)
    assert subscription(pipeline.database)["failed_events"] == 1

    job_id = _changed(pipeline, number, 4)
    webhook_rows.delivered(pipeline.database, _claimed(pipeline.database, job_id), 204)

    assert subscription(pipeline.database)["failed_events"] == 0


def test_old_changes_are_deleted_with_what_holds_them(pipeline: PipelineHarness) -> None:
    database = pipeline.database
    number = watched_case(pipeline, webhook_url=HOOK)
    _changed(pipeline, number, 3)
    pipeline.sandbox.add_case(documents=3, number=number, movements=[{"descricao": "Conclusos"}])
    look(pipeline)
    assert [job["is_look"] for job in jobs(database)] == [False, True]
    factories.execute(database, "UPDATE events SET event_time = event_time - interval '90 days'")
    seen = event_log.page(database, CLIENT, 0, 1)[0][0].number

    # An event that is still being sent stays.
    assert event_log.delete_old(database, age_s=MONTH_S) == 0
    for job in jobs(database):
        webhook_rows.delivered(database, _claimed(database, job["job_id"]), 204)
    assert event_log.delete_old(database, age_s=MONTH_S) == 2

    assert changes(database) == []
    assert [job["is_look"] for job in jobs(database)] == [False]
    with pytest.raises(EventsGone):
        event_log.page(database, CLIENT, seen, 10)[0]
    # The end of the job stays as long as the job.
    assert [each.type for each in event_log.page(database, CLIENT, 0, 10)[0]] == [
        "download.completed"
    ]


def test_a_retry_of_the_job_keeps_the_change(pipeline: PipelineHarness, objects: Objects) -> None:
    number = watched_case(pipeline, webhook_url=HOOK)
    pipeline.sandbox.add_case(documents=3, number=number, faults={2: "no-access-file"})
    look(pipeline)
    [job] = jobs(pipeline.database)
    webhook_rows.delivered(pipeline.database, _claimed(pipeline.database, job["job_id"]), 204)

    factories.rerun(pipeline.database, objects, job["job_id"])

    view = job_queries.get(pipeline.database, CLIENT, job["job_id"])
    assert [hook.state for hook in view.webhooks] == ["DELIVERED"]
