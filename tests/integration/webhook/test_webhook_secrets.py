"""A webhook is signed with its client's own secrets, or not sent."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from actors.messaging.enqueuer import Enqueuer, make_broker
from actors.webhook.signed_posts import UNSIGNED, SignedPosts
from actors.webhook.webhook_client import Answer
from actors.webhook.webhook_sender import WebhookSender
from storage.clients.client_registry import ClientLimits
from storage.clients.clients_file import ClientsFile
from storage.clients.webhook_secrets import WebhookSecrets
from storage.jobs import job_queries
from storage.objects.object_store import Objects
from storage.postgres.database import Database
from tests.integration.harness import factories
from tests.integration.harness.grpc_server import entry, write_clients

SHARED, A, B, NEW = (
    "whsec_" + base64.b64encode(seed * 32).decode() for seed in (b"s", b"a", b"b", b"n")
)


@dataclass
class _Poster:
    """A receiver that takes everything."""

    posts: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list)

    def post(self, _url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self.posts.append((headers, body))
        return Answer(204, None)


@dataclass
class _Notifier:
    """The notifier of a clients file."""

    database: Database
    sender: WebhookSender
    poster: _Poster
    file: Path

    def send(self, client: str) -> UUID:
        """Send the webhook of an ended job of this client."""
        wanted = factories.request(client=client, webhook_url=factories.HOOK)
        view, _ = factories.start(self.database, wanted)
        job_queries.cancel(self.database, client, view.job.job_id)
        self.sender.send_webhook(view.job.job_id, 0)
        return view.job.job_id


@pytest.fixture
def notifier(database: Database, objects: Objects, redis_url: str, tmp_path: Path) -> _Notifier:
    """Two clients with a secret each."""
    file = write_clients(
        tmp_path / "clients.json",
        entry("a", webhook_secrets=[A]),
        entry("b", webhook_secrets=[B]),
    )
    poster: Any = _Poster()
    secrets = WebhookSecrets([SHARED], ClientsFile(file, ClientLimits(*[1] * 5)))
    messages = Enqueuer(make_broker(redis_url, timeout_s=5))
    return _Notifier(
        database,
        WebhookSender(database, objects, SignedPosts(poster, secrets), messages),
        poster,
        file,
    )


def _is_by(secret: str, post: tuple[Mapping[str, str], bytes]) -> bool:
    headers, body = post
    try:
        Webhook(secret).verify(body, dict(headers))
    except WebhookVerificationError:
        return False
    return True


def test_no_client_can_forge_the_events_of_another(notifier: _Notifier) -> None:
    notifier.send("a")
    notifier.send("b")

    of_a, of_b = notifier.poster.posts
    assert [_is_by(secret, of_a) for secret in (A, B, SHARED)] == [True, False, False]
    assert [_is_by(secret, of_b) for secret in (A, B, SHARED)] == [False, True, False]


def test_while_a_secret_is_replaced_both_sign(notifier: _Notifier) -> None:
    write_clients(
        notifier.file,
        entry("a", webhook_secrets=[A, NEW]),
        entry("b", webhook_secrets=[B]),
    )
    notifier.send("a")
    write_clients(notifier.file, entry("a", webhook_secrets=[NEW]), entry("b", webhook_secrets=[B]))
    notifier.send("a")

    both, later = notifier.poster.posts
    assert [_is_by(secret, both) for secret in (A, NEW)] == [True, True]
    assert [_is_by(secret, later) for secret in (A, NEW)] == [False, True]


def test_without_a_secret_nothing_is_sent_until_there_is_one(notifier: _Notifier) -> None:
    job_id = notifier.send("c")

    [hook] = factories.webhooks(notifier.database, job_id)
    assert notifier.poster.posts == []
    assert (hook["state"], hook["attempt_count"]) == ("PENDING", 1)
    assert hook["last_error"] == UNSIGNED
    write_clients(notifier.file, entry("c", webhook_secrets=[NEW]))
    factories.age(notifier.database, job_id, 3_600)
    notifier.sender.send_webhook(job_id, 0)
    [post] = notifier.poster.posts
    assert _is_by(NEW, post)
    [hook] = factories.webhooks(notifier.database, job_id)
    assert hook["state"] == "DELIVERED"
