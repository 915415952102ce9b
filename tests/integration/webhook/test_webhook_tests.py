"""SendTestWebhook: one signed event, sent by a notifier under the rules of webhooks."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import grpc
import pytest
from standardwebhooks import Webhook

from actors.resilience.exchange_deadline import Watchdog
from actors.webhook.signed_posts import SignedPosts
from actors.webhook.webhook_client import WebhookClient
from actors.webhook.webhook_sender import WebhookTester
from autos.downloads.v1 import downloads_pb2 as pb
from server.dependencies import ServerDependencies
from storage.clients.webhook_secrets import WebhookSecrets
from storage.errors import ServiceUnavailable
from storage.objects.object_store import Objects
from storage.postgres.database import Database
from storage.webhook_policy import WebhookPolicy
from storage.webhooks import delivery_limits, webhook_rows, webhook_tests
from storage.webhooks.delivery_limits import DEFAULT_LIMITS
from tests.conftest import WEBHOOK_SECRET
from tests.integration.harness import factories
from tests.integration.harness.concurrency import run_concurrently
from tests.integration.harness.grpc_server import (
    WIDE,
    api_of,
    entry,
    running_server,
    service_parts,
    write_clients,
)
from tests.sandbox.receivers.webhook_receiver import WebhookReceiver
from tests.system.refused_calls import RefusedCall, refusal_of

PER_CLIENT, PER_RECEIVER = DEFAULT_LIMITS.per_client, DEFAULT_LIMITS.per_receiver

CLIENT = "default"
PUBLIC = "https://hooks.tribunal.jus.br/autos"
OWN = "whsec_" + base64.b64encode(32 * b"o").decode()


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    """A receiver of webhooks."""
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture
def parts(
    database: Database, objects: Objects, redis_url: str, receiver: WebhookReceiver
) -> Iterator[ServerDependencies]:
    """A service that allows the receiver, and public ones."""
    with service_parts(database, objects, redis_url) as parts:
        yield replace(parts, receivers=_policy(receiver))


def _policy(receiver: WebhookReceiver) -> WebhookPolicy:
    return WebhookPolicy.from_entries([urlsplit(receiver.url).netloc, "*.tribunal.jus.br"])


@dataclass
class _Notifier:
    """A notifier that works while a call waits."""

    tester: WebhookTester

    async def while_waiting(self, call: Any) -> Any:
        """Return the answer of a call that a notifier serves meanwhile."""
        waiting = asyncio.ensure_future(call)
        while not waiting.done():
            await asyncio.to_thread(self.tester.poll, lambda: None)
            await asyncio.sleep(0.01)
        return await waiting


def _notifier(
    database: Database, receiver: WebhookReceiver, addresses: Sequence[str] = ("127.0.0.1",)
) -> _Notifier:
    poster = WebhookClient(
        _policy(receiver), Watchdog(), resolve=lambda _host, _port: list(addresses)
    )
    return _Notifier(WebhookTester(database, SignedPosts(poster, WebhookSecrets([WEBHOOK_SECRET]))))


def _try(parts: ServerDependencies, notifier: _Notifier, url: str) -> pb.WebhookAttempt:
    async def scenario() -> pb.WebhookAttempt:
        async with running_server(parts) as server, api_of(server.address) as api:
            asked = api.SendTestWebhook(pb.SendTestWebhookRequest(webhook_url=url))
            answer: pb.SendTestWebhookResponse = await notifier.while_waiting(asked)
            return answer.attempt

    return asyncio.run(scenario())


async def _refusal(call: Any) -> RefusedCall:
    with pytest.raises(grpc.RpcError) as caught:
        await call
    return refusal_of(caught.value)


def _count(database: Database, table: str) -> int:
    with database.transaction() as transaction:
        return int(transaction.only(f"SELECT count(*) FROM {table}")["count"])


def _rows(database: Database) -> int:
    return _count(database, "webhook_tests")


def test_the_receiver_gets_one_signed_event_and_the_caller_its_answer(
    parts: ServerDependencies, receiver: WebhookReceiver
) -> None:
    attempt = _try(parts, _notifier(parts.database, receiver), receiver.url)

    assert (attempt.number, attempt.status_code, attempt.error) == (1, 204, "")
    assert attempt.attempt_time.seconds
    [delivery] = receiver.deliveries
    event = Webhook(WEBHOOK_SECRET).verify(delivery.body, dict(delivery.headers))
    assert event == {
        "type": "webhook.test",
        "timestamp": json.loads(delivery.body)["timestamp"],
        "data": {},
    }
    assert _rows(parts.database) == 0
    # It is no event of the client's log.
    assert _count(parts.database, "events") == 0


def test_a_refusal_is_the_answer_and_is_not_repeated(
    parts: ServerDependencies, receiver: WebhookReceiver
) -> None:
    receiver.answer(status=500)

    attempt = _try(parts, _notifier(parts.database, receiver), receiver.url)

    assert (attempt.status_code, attempt.error) == (500, "The receiver answered 500.")
    assert len(receiver.deliveries) == 1


def test_the_addresses_of_a_name_are_checked_as_for_webhooks(
    parts: ServerDependencies, receiver: WebhookReceiver
) -> None:
    attempt = _try(parts, _notifier(parts.database, receiver, ["10.0.0.1"]), PUBLIC)

    assert (attempt.status_code, attempt.error) == (
        0,
        "hooks.tribunal.jus.br resolves to an address that is not public.",
    )


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "must be set."),
        ("ftp://hooks.tribunal.jus.br/", "The URL is not http:// or https:// with a host;"),
        ("http://hooks.tribunal.jus.br/", "http:// to hooks.tribunal.jus.br would be read"),
        ("https://u:p@hooks.tribunal.jus.br/", "The URL holds user info;"),
        ("https://169.254.169.254/latest", "169.254.169.254 is not a public address;"),
        ("https://hooks.tribunal.jus.br:22/", "Port 22 is not allowed;"),
        ("https://other.jus.br/", "The server's operator does not allow other.jus.br"),
    ],
)
def test_a_wrong_url_is_a_violation_of_its_field(
    parts: ServerDependencies, url: str, why: str
) -> None:
    async def scenario() -> RefusedCall:
        async with running_server(parts) as server, api_of(server.address) as api:
            return await _refusal(api.SendTestWebhook(pb.SendTestWebhookRequest(webhook_url=url)))

    found = asyncio.run(scenario())
    assert found.reason == "INVALID_REQUEST"
    [(field, text)] = found.fields.items()
    assert field == "webhook_url"
    assert text.startswith(why)
    assert _rows(parts.database) == 0


def test_a_client_uses_its_own_secret_and_its_own_limit(
    parts: ServerDependencies, receiver: WebhookReceiver, tmp_path: Path
) -> None:
    # Given a client that may start one job a minute, and one without a secret
    file = write_clients(
        tmp_path / "clients.json",
        entry("ana", "token-of-ana", webhook_secrets=[OWN], limits={"starts_per_minute": 1}),
        entry("bob", "token-of-bob"),
        entry("carl", "token-of-carl"),
    )
    request = pb.SendTestWebhookRequest(webhook_url=receiver.url)

    async def scenario() -> tuple[pb.SendTestWebhookResponse, list[RefusedCall]]:
        async with running_server(parts, file, WIDE) as server:
            assert server.clients
            secrets = WebhookSecrets([WEBHOOK_SECRET], server.clients)
            poster = WebhookClient(_policy(receiver), Watchdog())
            notifier = _Notifier(WebhookTester(parts.database, SignedPosts(poster, secrets)))
            async with (
                api_of(server.address, "token-of-ana") as ana,
                api_of(server.address, "token-of-bob") as bob,
            ):
                answer = await notifier.while_waiting(ana.SendTestWebhook(request))
                return answer, [
                    await _refusal(ana.SendTestWebhook(request)),
                    await _refusal(bob.SendTestWebhook(request)),
                ]

    answer, (limited, unsigned) = asyncio.run(scenario())
    assert answer.attempt.status_code == 204
    [delivery] = receiver.deliveries
    Webhook(OWN).verify(delivery.body, dict(delivery.headers))
    assert (limited.reason, limited.code) == (
        "TOO_MANY_STARTS",
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    )
    assert unsigned.fields == {
        "webhook_url": "this client has no secret that signs its webhooks; ask the operator."
    }


def test_a_test_that_no_notifier_takes_is_unavailable_and_is_never_sent(
    parts: ServerDependencies, receiver: WebhookReceiver
) -> None:
    async def scenario() -> RefusedCall:
        async with running_server(parts) as server, api_of(server.address) as api:
            asked = asyncio.ensure_future(
                _refusal(api.SendTestWebhook(pb.SendTestWebhookRequest(webhook_url=receiver.url)))
            )
            while not asked.done():
                factories.execute(
                    parts.database,
                    "UPDATE webhook_tests SET create_time = create_time - interval '1 minute'",
                )
                await asyncio.sleep(0.05)
            return await asked

    found = asyncio.run(scenario())
    assert found.reason == "UNAVAILABLE"
    assert _rows(parts.database) == 0
    assert receiver.deliveries == []


def test_a_notifier_that_was_lost_is_unavailable(database: Database) -> None:
    test_id = webhook_tests.create(database, CLIENT, PUBLIC)
    assert webhook_tests.claim(database, test_id, lease_s=30)
    assert webhook_tests.take_answer(database, test_id) is None

    factories.execute(database, "UPDATE webhook_tests SET lease_until = now() - interval '1 s'")

    with pytest.raises(ServiceUnavailable):
        webhook_tests.take_answer(database, test_id)
    assert _rows(database) == 0


def test_one_of_several_notifiers_sends_a_test_and_no_one_a_late_one(database: Database) -> None:
    test_id = webhook_tests.create(database, CLIENT, PUBLIC)
    assert webhook_tests.next_test(database) == test_id
    claims = [partial(webhook_tests.claim, database, test_id, lease_s=30) for _ in range(4)]
    [claimed] = [claim for claim in run_concurrently(claims) if claim]
    # Not even when its lease is over.
    factories.execute(database, "UPDATE webhook_tests SET lease_until = now() - interval '1 s'")
    assert webhook_tests.claim(database, test_id, lease_s=30) is None
    webhook_tests.record(database, claimed, status_code=204, error="")
    assert webhook_tests.claim(database, test_id, lease_s=30) is None
    assert webhook_tests.next_test(database) is None

    late = webhook_tests.create(database, CLIENT, PUBLIC)
    factories.execute(
        database, "UPDATE webhook_tests SET create_time = create_time - interval '1 minute'"
    )
    assert webhook_tests.next_test(database) is None
    assert webhook_tests.claim(database, late, lease_s=30) is None


def _claimed(database: Database, count: int, url: str = PUBLIC) -> list[UUID]:
    made = [webhook_tests.create(database, CLIENT, url) for _ in range(count)]
    return [each for each in made if webhook_tests.claim(database, each, lease_s=30)]


def test_tests_and_webhooks_share_the_deliveries_at_once(database: Database) -> None:
    # Given a receiver with as many tests as it may have deliveries
    assert len(_claimed(database, PER_RECEIVER + 1)) == PER_RECEIVER
    job_id = factories.listed_job(database, 0, factories.request(client=CLIENT, webhook_url=PUBLIC))

    # Then no webhook of the client is sent to it, but one to another receiver is
    assert delivery_limits.next_webhook(database, CLIENT) is None
    assert webhook_rows.claim(database, job_id, 0, lease_s=30) is None
    other = factories.listed_job(
        database, 0, factories.request(client=CLIENT, webhook_url="https://other.example/hook")
    )
    assert delivery_limits.next_webhook(database, CLIENT) == (other, 0)
    assert webhook_rows.claim(database, other, 0, lease_s=30)

    # And a client has so many in all, webhooks included
    left = PER_CLIENT - PER_RECEIVER - 1
    assert len(_claimed(database, left + 1, "https://third.example/hook")) == left
    assert delivery_limits.next_webhook(database, CLIENT) is None


def test_a_receiver_that_times_out_in_a_test_is_silent(database: Database) -> None:
    first, *others = (webhook_tests.create(database, CLIENT, PUBLIC) for _ in range(3))
    claimed = webhook_tests.claim(database, first, lease_s=30)
    assert claimed
    webhook_tests.record(
        database, claimed, status_code=0, error="It took too long.", is_timeout=True
    )

    taken = [webhook_tests.claim(database, each, lease_s=30) for each in others]

    assert [each is not None for each in taken] == [True, False]


def test_rows_that_no_call_reads_are_deleted(database: Database) -> None:
    webhook_tests.create(database, CLIENT, PUBLIC)
    factories.execute(
        database, "UPDATE webhook_tests SET create_time = create_time - interval '1 hour'"
    )
    webhook_tests.create(database, CLIENT, PUBLIC)

    assert webhook_tests.delete_old(database) == 1
    assert _rows(database) == 1
