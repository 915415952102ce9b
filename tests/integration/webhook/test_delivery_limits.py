"""Test that no client, and no receiver of a client, stops the webhooks of another client."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import count
from uuid import UUID

import pytest

from storage import sql
from storage.postgres.database import Database
from storage.webhooks import delivery_limits, webhook_rows
from storage.webhooks.delivery_limits import DEFAULT_LIMITS, DeliveryLimits
from storage.webhooks.webhook_rows import WebhookDelivery
from tests.integration.harness import factories
from tests.integration.harness.concurrency import run_concurrently

PER_CLIENT, PER_RECEIVER = DEFAULT_LIMITS.per_client, DEFAULT_LIMITS.per_receiver
# One receiver each.
_HOSTS: Iterator[str] = (f"https://r{number}.example/hook" for number in count())


def _due(database: Database, client: str, url: str | None = None) -> UUID:
    """Return an ended job of `client` with a due webhook."""
    wanted = factories.request(client=client, webhook_url=url or next(_HOSTS))
    return factories.listed_job(database, 0, wanted)


def _claim(database: Database, job_id: UUID) -> WebhookDelivery | None:
    return webhook_rows.claim(database, job_id, 0, lease_s=30)


def _claimed(database: Database, job_ids: list[UUID]) -> list[WebhookDelivery]:
    claims = [partial(_claim, database, job_id) for job_id in job_ids]
    return [delivery for delivery in run_concurrently(claims) if delivery]


def _timed_out(database: Database, delivery: WebhookDelivery) -> None:
    webhook_rows.refused(
        database,
        delivery,
        status_code=0,
        error="The receiver did not answer within 15 seconds.",
        retry_after_s=None,
        is_final=False,
        is_timeout=True,
    )


def test_many_receivers_of_one_client_leave_room_for_the_webhooks_of_others(
    database: Database,
) -> None:
    # Given a client with more receivers that hang than threads
    found = _claimed(database, [_due(database, "alpha") for _ in range(2 * PER_CLIENT)])
    assert len(found) == PER_CLIENT

    # Then another client's webhook is sent at once, and is the next one without messages, too
    job_id = _due(database, "beta")
    assert delivery_limits.next_webhook(database) == (job_id, 0)
    assert _claim(database, job_id)
    assert delivery_limits.next_webhook(database) is None

    # And a delivery that ends lets the next one of its own client begin
    webhook_rows.delivered(database, found[0], 200)
    waiting = delivery_limits.next_webhook(database, "alpha")
    assert waiting
    assert _claim(database, waiting[0])


def test_the_limits_of_the_settings_apply(database: Database) -> None:
    # Given settings that allow one delivery to a receiver and two in all
    limits = DeliveryLimits(per_client=2, per_receiver=1)

    def claim(url: str | None = None) -> WebhookDelivery | None:
        job_id = _due(database, "alpha", url)
        return webhook_rows.claim(database, job_id, 0, lease_s=30, limits=limits)

    shared = next(_HOSTS)
    assert claim(shared)
    assert claim(shared) is None
    assert delivery_limits.next_webhook(database, limits=limits) is None
    assert claim()
    assert claim() is None
    assert delivery_limits.next_webhook(database, limits=limits) is None
    # More room by the defaults
    assert delivery_limits.next_webhook(database)


def test_a_receiver_that_two_clients_share_is_not_filled_by_one(database: Database) -> None:
    url = next(_HOSTS)
    found = _claimed(database, [_due(database, "alpha", url) for _ in range(PER_RECEIVER + 1)])
    assert len(found) == PER_RECEIVER

    assert _claim(database, _due(database, "beta", url))


def test_a_receiver_that_timed_out_gets_one_delivery_at_a_time_until_it_answers(
    database: Database,
) -> None:
    url = next(_HOSTS)
    first, *others = (_due(database, "alpha", url) for _ in range(PER_RECEIVER + 2))
    (delivery,) = _claimed(database, [first])
    _timed_out(database, delivery)

    # It hangs: one at a time, and other receivers and clients as before
    (only,) = _claimed(database, others)
    assert delivery_limits.next_webhook(database, "alpha") is None
    assert _claim(database, _due(database, "alpha"))
    shared = [_due(database, "beta", url) for _ in range(PER_RECEIVER)]
    assert len(_claimed(database, shared)) == PER_RECEIVER

    # It answers, whatever the status
    webhook_rows.refused(
        database, only, status_code=503, error="", retry_after_s=None, is_final=False
    )
    rest = [job_id for job_id in others if job_id != only.job_id]
    assert len(_claimed(database, rest)) == PER_RECEIVER


@pytest.mark.parametrize("is_timeout", [False, True])
def test_only_a_timeout_makes_a_receiver_silent(database: Database, is_timeout: bool) -> None:
    url = next(_HOSTS)
    first, *others = (_due(database, "alpha", url) for _ in range(3))
    (delivery,) = _claimed(database, [first])
    webhook_rows.refused(
        database,
        delivery,
        status_code=0,
        error="The receiver refused the connection.",
        retry_after_s=None,
        is_final=False,
        is_timeout=is_timeout,
    )

    assert len(_claimed(database, others)) == (1 if is_timeout else 2)


def test_the_client_with_the_fewest_deliveries_is_next(database: Database) -> None:
    # Given webhooks of a client that are due longer, and one of them under way
    job_ids = [_due(database, "alpha") for _ in range(3)]
    factories.execute(
        database, "UPDATE webhooks SET next_attempt_time = next_attempt_time - interval '1 hour'"
    )
    assert _claim(database, job_ids[0])
    newest = _due(database, "beta")

    assert delivery_limits.next_webhook(database) == (newest, 0)
    assert delivery_limits.next_webhook(database, "alpha") == (job_ids[1], 0)


def test_messages_for_stalled_webhooks_take_turns_by_client(database: Database) -> None:
    # Given many due webhooks of a client, and a newer one of another
    for _ in range(4):
        _due(database, "alpha")
    newest = _due(database, "beta")

    with database.transaction() as transaction:
        taken = transaction.all(
            sql.statement("take_stalled_webhooks"), base_s=5, cap_s=60, most=2, sent_before=None
        )

    assert newest in {row["job_id"] for row in taken}
    assert len(taken) == 2
