"""The demo's verification of an ended job: its webhook's signature and a document's bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
from standardwebhooks import Webhook, WebhookVerificationError

from autos import Client
from dev.demo.demo_cases import Case
from dev.demo.demo_console import DemoFailure
from dev.demo.demo_environment import DemoEnvironment

# The second attempt follows 5 s after the first.
WEBHOOK_TIMEOUT_S = 30.0
GET_TIMEOUT_S = 30.0
CHUNK_BYTES = 65_536


@dataclass(frozen=True)
class Opened:
    """A document that was fetched by a presigned URL."""

    name: str
    where: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Verified:
    """A webhook with a valid signature."""

    webhook_id: str
    type: str
    documents: list[Mapping[str, Any]]


def verified_webhook(client: Client, place: DemoEnvironment, case: Case) -> Verified:
    """Wait for the webhook of the case's job, verify and return it. Raises DemoFailure."""
    path = urlsplit(case.webhook_url).path
    try:
        delivery = place.receiver.wait_for(1, WEBHOOK_TIMEOUT_S, path)[0]
    except TimeoutError as error:
        webhooks = client.status(case.job.job_id).webhooks
        tried = [webhook.last_error for webhook in webhooks if webhook.last_error]
        raise DemoFailure(
            f"The webhook of {case.number} did not come within {WEBHOOK_TIMEOUT_S:.0f} s; "
            f"its last attempt: {'; '.join(tried) or 'none was made'}."
        ) from error
    try:
        # During a rotation there are several secrets. Each of them signs, so one is enough.
        secret = place.secret.split(",")[0].strip()
        payload = Webhook(secret).verify(delivery.body, dict(delivery.headers))
    except WebhookVerificationError as error:
        hint = "" if place.is_ours else "; give `make demo` the WEBHOOK_SECRET of `make run`"
        raise DemoFailure(
            f"The webhook of {case.number} came, but its signature does not hold ({error}){hint}."
        ) from error
    if payload["data"]["job"]["job_id"] != case.job.job_id:
        raise DemoFailure(f"The webhook of {case.number} is about another job.")
    return Verified(
        delivery.headers["webhook-id"], payload["type"], payload["data"].get("documents", [])
    )


def opened_document(webhook: Verified, documents: Mapping[str, str]) -> Opened:
    """Fetch a document by the webhook's URL and compare it with `documents`: SHA-256 by id.

    Raises DemoFailure.
    """
    message = next((each for each in webhook.documents if each.get("url")), None)
    if message is None:
        raise DemoFailure("The webhook has no document with a URL.")
    digest, size_bytes = hashlib.sha256(), 0
    with requests.Session() as session:
        session.trust_env = False
        with session.get(message["url"], timeout=GET_TIMEOUT_S, stream=True) as answer:
            if answer.status_code != requests.codes.ok:
                raise DemoFailure(f"The presigned URL answered {answer.status_code}.")
            for chunk in answer.iter_content(CHUNK_BYTES):
                digest.update(chunk)
                size_bytes += len(chunk)
    if digest.hexdigest() != documents[message["document_id"]]:
        raise DemoFailure("What the presigned URL gave is not what was stored: other SHA-256.")
    url = urlsplit(message["url"])
    where = f"{url.scheme}://{url.netloc}/…/{url.path.rpartition('/')[2]}"
    return Opened(message.get("name", ""), where, size_bytes, digest.hexdigest())
