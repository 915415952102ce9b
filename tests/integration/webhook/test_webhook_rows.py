"""Test webhooks as rows: one attempt at a time, by a schedule, with the data of the end."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from uuid import UUID, uuid4

import pytest

from actors.messaging.enqueuer import Enqueuer, make_broker
from actors.resilience.exchange_deadline import Watchdog
from actors.webhook import webhook_sender
from actors.webhook.signed_posts import SignedPosts
from actors.webhook.webhook_client import WebhookClient
from actors.webhook.webhook_sender import WebhookSender
from dev.embedded.embedded_servers import EmbeddedServers
from storage.clients.webhook_secrets import WebhookSecrets
from storage.errors import LeaseLost, RequestIdReused
from storage.jobs import job_queries
from storage.objects.object_store import Objects
from storage.postgres.database import Database
from storage.states import WebhookState
from storage.webhook_policy import WebhookPolicy
from storage.webhooks import delivery_limits, webhook_rows
from storage.webhooks.delivery_limits import DEFAULT_LIMITS
from storage.webhooks.webhook_rows import JITTER, SCHEDULE_S, WebhookDelivery
from tests.integration.harness import factories
from tests.integration.harness.concurrency import run_concurrently
from tests.integration.harness.factories import CLIENT, HOOK


def _ended(database: Database, documents: int = 0) -> UUID:
    """Return an ended job with a due webhook."""
    job_id = factories.listed_job(database, documents, factories.request(webhook_url=HOOK))
    for _ in range(documents):
        factories.store_next(database, job_id)
    return job_id


def _claimed(database: Database, job_id: UUID, *, lease_s: float = 30) -> WebhookDelivery:
    delivery = webhook_rows.claim(database, job_id, 0, lease_s=lease_s)
    assert delivery
    return delivery


def _refused(
    database: Database,
    delivery: WebhookDelivery,
    *,
    retry_after_s: float | None = None,
    is_final: bool = False,
) -> float | None:
    return webhook_rows.refused(
        database,
        delivery,
        status_code=503,
        error="The receiver answered 503.",
        retry_after_s=retry_after_s,
        is_final=is_final,
    )


def test_one_attempt_at_a_time(database: Database) -> None:
    job_id = _ended(database)

    found = run_concurrently([partial(webhook_rows.claim, database, job_id, 0, lease_s=30)] * 10)

    assert sum(delivery is not None for delivery in found) == 1


def test_a_redelivery_under_one_request_id_is_made_once(database: Database) -> None:
    job_id, other = _ended(database), _ended(database)
    webhook_rows.delivered(database, _claimed(database, job_id), 204)
    request_id = uuid4()

    again = partial(webhook_rows.redeliver, database, CLIENT, job_id, request_id)
    made = run_concurrently([again] * 8)

    assert sum(is_new for _, is_new in made) == 1
    webhook_rows.delivered(database, _claimed(database, job_id), 204)
    view, is_new = again()
    assert not is_new
    assert view.webhooks[0].state == WebhookState.DELIVERED
    with pytest.raises(RequestIdReused):
        webhook_rows.redeliver(database, CLIENT, other, request_id)
    assert run_concurrently([partial(webhook_rows.redeliver, database, CLIENT, job_id)] * 2)[1][1]


def test_one_request_id_for_two_jobs_at_once_is_refused_for_one(database: Database) -> None:
    job_ids = [_ended(database), _ended(database)]
    for job_id in job_ids:
        webhook_rows.delivered(database, _claimed(database, job_id), 204)
    request_id = uuid4()

    def redelivered(job_id: UUID) -> bool:
        try:
            return webhook_rows.redeliver(database, CLIENT, job_id, request_id)[1]
        except RequestIdReused:
            return False

    assert sorted(run_concurrently([partial(redelivered, each) for each in job_ids])) == [
        False,
        True,
    ]


def test_one_receiver_never_has_more_than_its_share_of_deliveries_at_once(
    database: Database,
) -> None:
    job_ids = [_ended(database) for _ in range(DEFAULT_LIMITS.per_receiver + 2)]

    claims = [partial(webhook_rows.claim, database, job_id, 0, lease_s=30) for job_id in job_ids]
    found = [delivery for delivery in run_concurrently(claims) if delivery]
    assert len(found) == DEFAULT_LIMITS.per_receiver

    other = factories.request(webhook_url=HOOK.replace("receiver", "another"))
    assert webhook_rows.claim(database, factories.listed_job(database, 0, other), 0, lease_s=30)
    webhook_rows.delivered(database, found[0], 200)
    waiting = delivery_limits.next_webhook(database, CLIENT)
    assert waiting, "a waiting webhook is sent when there is room"
    assert webhook_rows.claim(database, *waiting, lease_s=30)


def test_nothing_is_sent_before_the_end(database: Database) -> None:
    view, _ = factories.start(database, factories.request(webhook_url=HOOK))

    assert webhook_rows.due(database, view.job.job_id) == []
    assert webhook_rows.claim(database, view.job.job_id, 0, lease_s=30) is None


def test_what_is_not_there_is_not_sent(database: Database) -> None:
    assert webhook_rows.claim(database, uuid4(), 0, lease_s=30) is None
    assert webhook_rows.claim(database, _ended(database), 1, lease_s=30) is None


def test_an_attempt_sends_the_end_as_it_was(database: Database) -> None:
    # Given an end, and rows that have changed since
    job_id = _ended(database, 2)
    at_the_end = job_queries.get(database, CLIENT, job_id).job
    rows = factories.documents(database, job_id)
    factories.execute(
        database, "UPDATE documents SET name = 'another' WHERE job_id = %(id)s", id=job_id
    )

    delivery = _claimed(database, job_id)

    assert delivery.job == at_the_end
    assert delivery.event_time == at_the_end.end_time
    assert (delivery.type, delivery.url) == ("download.completed", HOOK)
    assert [d.document_id for d in delivery.documents] == [d["document_id"] for d in rows]
    assert [d.name for d in delivery.documents] == ["Documento 0", "Documento 1"]
    assert [d.revision for d in delivery.documents] == [d["revision"] for d in rows]


def test_the_id_is_the_same_in_every_attempt_and_differs_by_url(database: Database) -> None:
    wanted = factories.request(webhook_url=HOOK)
    job_id = factories.listed_job(database, 1, wanted)
    factories.start(database, factories.request(wanted.process_number, webhook_url=f"{HOOK}/2"))
    factories.store_next(database, job_id)
    assert webhook_rows.due(database, job_id) == [0, 1]

    first = _claimed(database, job_id)
    _refused(database, first)
    factories.age(database, job_id, 3_600)
    again = _claimed(database, job_id)
    other = webhook_rows.claim(database, job_id, 1, lease_s=30)

    assert other
    assert again.webhook_id == first.webhook_id != other.webhook_id
    assert again.event_time == first.event_time == other.event_time


def test_the_schedule_runs_to_its_end(database: Database) -> None:
    job_id = _ended(database)
    delays = []

    for _ in range(20):
        delay_s = _refused(database, _claimed(database, job_id))
        delays.append(delay_s)
        if delay_s is None:
            break
        assert webhook_rows.claim(database, job_id, 0, lease_s=30) is None, "before its time"
        factories.age(database, job_id, delay_s - 0.5)
        assert webhook_rows.due(database, job_id) == []
        factories.age(database, job_id, 0.5)

    *pauses, last = delays
    assert last is None
    for pause, planned_s in zip(pauses, SCHEDULE_S, strict=True):
        assert planned_s * (1 - JITTER) <= (pause or 0) <= planned_s * (1 + JITTER)
    (hook,) = factories.webhooks(database, job_id)
    assert (hook["state"], hook["attempt_count"]) == ("FAILED", len(SCHEDULE_S) + 1)
    assert (hook["last_status_code"], hook["next_attempt_time"]) == (503, None)
    assert hook["last_error"] == "The receiver answered 503."
    assert webhook_rows.due(database, job_id) == []


def test_a_receivers_retry_after_is_obeyed_within_bounds(database: Database) -> None:
    for retry_after_s, low_s, high_s in ((0, 4, 6), (7, 7, 7), (99_999, 8, 12)):
        job_id = _ended(database)

        delay_s = _refused(database, _claimed(database, job_id), retry_after_s=retry_after_s)

        assert delay_s is not None
        assert low_s <= delay_s <= high_s
        (hook,) = factories.webhooks(database, job_id)
        update_time = factories.job(database, job_id)["update_time"]
        planned = hook["next_attempt_time"] - update_time
        assert abs(planned - timedelta(seconds=delay_s)) < timedelta(seconds=1)


def test_a_final_refusal_ends_it_at_once(database: Database) -> None:
    job_id = _ended(database)

    assert _refused(database, _claimed(database, job_id), is_final=True) is None

    (hook,) = factories.webhooks(database, job_id)
    assert (hook["state"], hook["attempt_count"]) == ("FAILED", 1)
    factories.age(database, job_id, 999_999)
    assert webhook_rows.claim(database, job_id, 0, lease_s=30) is None


def test_an_accepted_webhook_is_never_sent_again(database: Database) -> None:
    job_id = _ended(database)
    _refused(database, _claimed(database, job_id))
    factories.age(database, job_id, 10)

    webhook_rows.delivered(database, _claimed(database, job_id), 204)

    (hook,) = factories.webhooks(database, job_id)
    assert (hook["state"], hook["attempt_count"]) == ("DELIVERED", 2)
    assert (hook["last_status_code"], hook["last_error"]) == (204, "")
    assert hook["delivered_time"] is not None
    factories.age(database, job_id, 999_999)
    assert webhook_rows.claim(database, job_id, 0, lease_s=30) is None


def test_every_attempt_is_a_change_of_the_job(database: Database) -> None:
    job_id = _ended(database)
    before = factories.job(database, job_id)["revision"]

    _refused(database, _claimed(database, job_id))
    factories.age(database, job_id, 10)
    webhook_rows.delivered(database, _claimed(database, job_id), 200)

    assert factories.job(database, job_id)["revision"] == before + 2


def _is_being_sent(_database: Database, _delivery: WebhookDelivery) -> None:
    """Leave an attempt in progress."""


def _is_delivered(database: Database, delivery: WebhookDelivery) -> None:
    webhook_rows.delivered(database, delivery, 200)


@pytest.mark.parametrize("then", [_is_being_sent, _refused, _is_delivered])
def test_a_notifier_that_was_away_too_long_records_nothing(
    database: Database, then: Callable[[Database, WebhookDelivery], object]
) -> None:
    # Given an attempt with an expired lease, and another that began since
    job_id = _ended(database)
    stale = _claimed(database, job_id, lease_s=-1)
    then(database, _claimed(database, job_id))
    before = (factories.job(database, job_id), factories.webhooks(database, job_id))

    for late in (
        partial(_refused, database, stale),
        partial(_refused, database, stale, is_final=True),
        partial(webhook_rows.delivered, database, stale, 200),
    ):
        with pytest.raises(LeaseLost):
            late()

    assert (factories.job(database, job_id), factories.webhooks(database, job_id)) == before


def test_a_lost_notifier_leaves_its_attempt_to_the_next(database: Database) -> None:
    job_id = _ended(database)
    lost = _claimed(database, job_id)
    assert webhook_rows.claim(database, job_id, 0, lease_s=30) is None

    factories.age(database, job_id, 31)
    next_one = _claimed(database, job_id)

    assert next_one.webhook_id == lost.webhook_id
    assert next_one.lease != lost.lease
    assert next_one.attempt_count == 0, "an attempt without a recorded end is no attempt"


def test_two_answers_to_one_attempt_are_one(database: Database) -> None:
    job_id = _ended(database)
    delivery = _claimed(database, job_id)

    def record() -> bool:
        try:
            webhook_rows.delivered(database, delivery, 200)
        except LeaseLost:
            return False
        return True

    assert sorted(run_concurrently([record] * 5)) == [False] * 4 + [True]
    assert factories.webhooks(database, job_id)[0]["attempt_count"] == 1


def _sender(database: Database, objects: Objects, servers: EmbeddedServers) -> WebhookSender:
    posts = SignedPosts(WebhookClient(WebhookPolicy(), Watchdog()), WebhookSecrets([]))
    messages = Enqueuer(make_broker(servers.env["REDIS_URL"], timeout_s=1))
    return WebhookSender(database, objects, posts, messages)


def test_a_body_above_five_megabytes_is_sent_without_its_documents(
    database: Database,
    objects: Objects,
    servers: EmbeddedServers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert webhook_sender.MAX_BODY_BYTES == 5_000_000
    delivery = _claimed(database, _ended(database, documents=20))
    sender = _sender(database, objects, servers)
    whole = sender.body(delivery)
    assert len(json.loads(whole)["data"]["documents"]) == 20

    monkeypatch.setattr(webhook_sender, "MAX_BODY_BYTES", len(whole) // 3)

    data = json.loads(sender.body(delivery))["data"]
    assert data.keys() == {"job", "documents_omitted"}
    assert data["documents_omitted"] is True
    assert data["job"]["progress"]["completed_documents"] == 20


@pytest.mark.parametrize(
    ("url", "has_urls"),
    [(HOOK, True), ("http://127.0.0.1:8099/hook", True), ("http://hooks.jus.br/hook", False)],
)
def test_a_body_that_the_network_could_read_has_no_urls(
    database: Database, objects: Objects, servers: EmbeddedServers, url: str, has_urls: bool
) -> None:
    delivery = replace(_claimed(database, _ended(database, documents=2)), url=url)
    sender = _sender(database, objects, servers)

    body = sender.body(delivery)

    documents = json.loads(body)["data"]["documents"]
    assert ["url" in document for document in documents] == [has_urls] * 2
    assert (b"X-Amz-Signature" in body) is has_urls
    # Of a sealed case nothing that identifies a document is left, over TLS or not.
    assert delivery.job
    sealed = sender.body(replace(delivery, job=replace(delivery.job, secrecy_level=1)))
    hidden = {"url", "name", "sha256", "object_key"}
    assert all(not hidden & each.keys() for each in json.loads(sealed)["data"]["documents"])
