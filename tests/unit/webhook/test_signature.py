"""Test that signatures match the reference implementation of Standard Webhooks."""

from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from actors.webhook.signed_posts import sign

keys = st.binary(min_size=24, max_size=64)


def secret(key: bytes) -> str:
    return "whsec_" + base64.b64encode(key).decode()


def headers(signature: str, timestamp: int) -> dict[str, str]:
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature,
    }


@given(key=keys, body=st.text(st.characters(codec="utf-8")))
def test_signature_is_accepted_by_the_reference_implementation(key: bytes, body: str) -> None:
    now = int(time.time())

    signature = sign([secret(key)], "msg_1", now, body.encode())

    Webhook(secret(key)).verify(body.encode(), headers(signature, now), json_parse=False)


@given(old=keys, new=keys)
def test_while_a_secret_is_rotated_both_are_accepted(old: bytes, new: bytes) -> None:
    now = int(time.time())

    signature = sign([secret(new), secret(old)], "msg_1", now, b"{}")

    assert len(signature.split(" ")) == 2
    for key in (old, new):
        Webhook(secret(key)).verify(b"{}", headers(signature, now), json_parse=False)


@pytest.mark.parametrize(
    ("message_id", "shift_s", "body"),
    [("msg_2", 0, b"{}"), ("msg_1", 1, b"{}"), ("msg_1", 0, b"{ }")],
    ids=["other id", "other time", "other body"],
)
def test_changed_message_is_refused(message_id: str, shift_s: int, body: bytes) -> None:
    now = int(time.time())
    key = secret(bytes(range(24)))

    signature = sign([key], message_id, now + shift_s, body)

    with pytest.raises(WebhookVerificationError):
        Webhook(key).verify(b"{}", headers(signature, now))


def test_signature_of_the_specification_s_example() -> None:
    # The reference libraries use this example in their own tests.
    signature = sign(
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1_614_265_330,
        b'{"test": 2432232314}',
    )

    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
