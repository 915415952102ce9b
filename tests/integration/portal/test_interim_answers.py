"""Test that interim answers of receiver, login, bucket and portal change no result."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from actors.login.portal_login import LoginClient, LoginUnavailable
from actors.resilience.exchange_deadline import Watchdog
from actors.webhook.signed_posts import SignedPosts
from actors.webhook.webhook_client import WebhookClient
from actors.webhook.webhook_sender import WebhookSender
from storage.clients.webhook_secrets import WebhookSecrets
from storage.errors import ServiceUnavailable
from storage.objects.object_store import Objects
from storage.objects.store_address import ObjectStore
from storage.objects.uploads import Upload
from storage.spool import Spool
from storage.webhook_policy import WebhookPolicy
from tests.integration.harness import factories
from tests.integration.harness.pipeline_harness import PipelineHarness
from tests.network.byte_server import INTERIM, ByteServer, Exchange, Script, answer, interim
from tests.sandbox.court_cases.document_bytes import content

DOCUMENTS = 12
SIZE_BYTES = 20_000
WATCHDOG = Watchdog()
MOMENT = "Mon, 02 Jun 2025 12:00:00 GMT"


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Return a spool with ample room, so that small files stay in memory."""
    return Spool(tmp_path / "spool", uuid4(), 2**30)


def _sends(*answers: bytes) -> Script:
    def script(exchange: Exchange) -> None:
        exchange.send(answers[min(exchange.number, len(answers)) - 1])

    return script


def _poster(server: ByteServer) -> WebhookClient:
    return WebhookClient(WebhookPolicy.from_entries([f"127.0.0.1:{server.port}"]), WATCHDOG)


def test_two_cases_whose_portal_sends_early_hints_get_their_own_documents(
    pipeline: PipelineHarness, objects: Objects, store: ObjectStore
) -> None:
    # Given two cases with files of one size, with interim answers before every second file
    hints = dict.fromkeys(range(1, DOCUMENTS, 2), "early-hints")
    numbers = [
        pipeline.sandbox.add_case(documents=DOCUMENTS, size=SIZE_BYTES, faults=hints)
        for _ in range(2)
    ]

    # When their files are fetched alternately, over the same connections
    job_ids = [pipeline.begin(number) for number in numbers]
    for job_id in job_ids:
        pipeline.list_job(job_id)
    for _ in range(DOCUMENTS):
        for job_id in job_ids:
            pipeline.download(job_id)
    pipeline.work()

    # Then each has its own bytes, after one request and one attempt each
    s3 = store.client(store.endpoint_url)
    for number, job_id in zip(numbers, job_ids, strict=True):
        assert factories.job(pipeline.database, job_id)["state"] == "COMPLETED"
        case = pipeline.sandbox.case(number)
        assert case
        hashes = {
            hashlib.sha256(content(each.kind, each.uuid, each.size_bytes)).hexdigest()
            for each in case.documents
        }
        rows = factories.documents(pipeline.database, job_id)
        assert {row["sha256"] for row in rows} == hashes
        for row in rows:
            body = s3.get_object(store.bucket, row["object_key"]).data
            assert hashlib.sha256(body).hexdigest() == row["sha256"]
        assert pipeline.requested_files(number) == [1] * DOCUMENTS


def test_a_receiver_that_sends_early_hints_gets_one_delivery(
    pipeline: PipelineHarness, objects: Objects
) -> None:
    with ByteServer(_sends(interim() + answer(b"ok"))) as server:
        number = pipeline.sandbox.add_case(documents=1)
        job_id = pipeline.run(number, webhook_url=f"http://127.0.0.1:{server.port}/hook")
        notifier = WebhookSender(
            database=pipeline.database,
            objects=objects,
            posts=SignedPosts(_poster(server), WebhookSecrets(["whsec_" + "c2VjcmV0" * 4])),
            messages=pipeline.messages,
        )
        for _ in range(3):
            notifier.send_webhook(job_id, 0)

    (webhook,) = factories.webhooks(pipeline.database, job_id)
    assert (webhook["state"], webhook["attempt_count"]) == ("DELIVERED", 1)
    assert len(server.requests) == 1


def test_a_post_is_answered_whatever_the_length_of_the_answer_is() -> None:
    sent = answer(b"ok", "Content-Length: 9, x", "no field at all")
    with ByteServer(_sends(sent)) as server:
        url = f"http://127.0.0.1:{server.port}/hook"
        assert _poster(server).post(url, {}, b"{}").status == 200


@pytest.mark.parametrize("before", INTERIM.values(), ids=list(INTERIM))
def test_a_post_gets_its_final_answer(before: bytes) -> None:
    with ByteServer(_sends(before + answer(b"no", status="410 Gone") + answer(b"ok"))) as server:
        url = f"http://127.0.0.1:{server.port}/"
        assert [_poster(server).post(url, {}, b"{}").status for _ in range(2)] == [410] * 2

    assert (len(server.requests), server.connections) == (2, 2)


@pytest.mark.parametrize("before", INTERIM.values(), ids=list(INTERIM))
def test_a_login_gets_its_final_answer(before: bytes) -> None:
    grant = answer(json.dumps({"access_token": "t", "expires_in": 60}).encode())
    with ByteServer(_sends(before + grant + answer(b"{}", status="401 No"))) as server:
        login = LoginClient(f"{server.url}/token", "autos", "secret", WATCHDOG)
        assert [login.log_in(None).access_token for _ in range(2)] == ["t"] * 2


def test_a_login_that_sends_interim_answers_alone_is_unavailable() -> None:
    with ByteServer(_sends(interim() * 2_000)) as server:
        login = LoginClient(f"{server.url}/token", "autos", "secret", WATCHDOG)
        with pytest.raises(LoginUnavailable):
            login.log_in(None)


def _bucket(server: ByteServer) -> Objects:
    store = ObjectStore(server.url, server.url, "key", "secret", "autos", "us-east-1")
    return Objects(store, max_connections=1)


def _upload(number: int) -> Upload:
    data = f"document {number}".encode() * 50
    return Upload(data, f"a/{number}.pdf", len(data), hashlib.sha256(data).hexdigest(), "a/b", "x")


@pytest.mark.parametrize("before", INTERIM.values(), ids=list(INTERIM))
def test_a_bucket_gives_its_final_answer(before: bytes) -> None:
    def script(exchange: Exchange) -> None:
        sent = answer(b"")
        if exchange.request.method == "HEAD":
            body = b"x" * int(exchange.request.path[-1] + "0")
            sent = answer(body, f"Last-Modified: {MOMENT}").removesuffix(body)
        exchange.send(before + sent)

    with ByteServer(script) as server:
        objects = _bucket(server)
        for number in range(3):
            objects.put(_upload(number))
        keys = {f"a/{number}": number * 10 for number in range(1, 9)}
        assert objects.present(keys) == set(keys)

    puts = [each for each in server.requests if each.method == "PUT"]
    assert [each.body for each in puts] == [_upload(number).source for number in range(3)]
    assert len({each.connection for each in puts}) == 1


def test_an_answer_after_another_of_the_bucket_belongs_to_no_request() -> None:
    # Given a bucket that rejects every second upload, and sends an acceptance after the rejection
    def script(exchange: Exchange) -> None:
        is_taken = int(exchange.request.path.removesuffix(".pdf")[-1]) % 2
        refused = answer(b"<Error/>", status="403 Forbidden")
        exchange.send(answer(b"") + refused if is_taken else refused + answer(b""))

    with ByteServer(script) as server:
        objects = _bucket(server)
        for number in range(6):
            upload = replace(_upload(number), limit_s=20.0)
            if number % 2:
                objects.put(upload)
            else:
                with pytest.raises(ServiceUnavailable):
                    objects.put(upload)

    assert (len(server.requests), server.connections) == (6, 6)
