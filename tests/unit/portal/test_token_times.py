"""Test a token and its lifetime: from the answer, else from the token, else eight hours."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.login.portal_login import (
    DEFAULT_LIFETIME_S,
    MOST_S,
    LoginClient,
    end_of,
    lifetime_s,
)
from actors.resilience.exchange_deadline import Watchdog
from tests.network.byte_server import ByteServer, answer

NOW = 1_700_000_000.0
NO_LIVES: tuple[object, ...] = (
    *(None, 0, -5, True, "soon", [], {}, "9" * 400),
    *(float("nan"), float("inf"), 10**400),
)


def _jwt(claims: Any) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{body}.c2ln"


@pytest.mark.parametrize(
    ("expires_in", "token", "seconds"),
    [
        (300, "opaque", 300),
        (299.5, "opaque", 299.5),
        ("300", "opaque", 300),
        (300, _jwt({"exp": NOW + 50}), 300),
        (None, _jwt({"exp": NOW + 50}), 50),
        # If the token has its own start time, the local clock is not used.
        (None, _jwt({"exp": NOW + 50, "iat": NOW - 500}), 550),
        (10**9, "opaque", MOST_S),
        *((answer, "opaque", DEFAULT_LIFETIME_S) for answer in NO_LIVES),
        *((None, token, DEFAULT_LIFETIME_S) for token in ("a.b.c", "a.e30.c", "", "..", _jwt([]))),
        (None, _jwt({"exp": "never"}), DEFAULT_LIFETIME_S),
        (None, _jwt({"exp": NOW - 50}), DEFAULT_LIFETIME_S),
    ],
)
def test_the_life_of_a_token(expires_in: object, token: str, seconds: float) -> None:
    assert lifetime_s(expires_in, token, NOW) == seconds


def test_the_end_of_a_token() -> None:
    assert end_of(_jwt({"exp": NOW})) == NOW
    assert end_of(_jwt({"exp": True})) is None
    assert end_of("opaque") is None


@given(st.text())
def test_no_token_breaks_it(token: str) -> None:
    assert 0 < lifetime_s(None, token, NOW) <= MOST_S
    assert 0 < lifetime_s(None, f"a.{token}.c", NOW) <= MOST_S


@pytest.mark.parametrize("charset", ["", ";charset=ISO-8859-1"])
def test_the_token_of_an_answer_in_windows_1252_is_not_lost(charset: str) -> None:
    body = '{"access_token": "a.b.c", "expires_in": 300, "refresh_token": "d", "name": "João"}'
    sent = answer(body.encode("cp1252"), f"Content-Type: application/json{charset}")
    with ByteServer(lambda exchange: exchange.send(sent)) as server:
        client = LoginClient(
            token_url=f"{server.url}/token", client_id="id", client_secret=None, watchdog=Watchdog()
        )
        grant = client.log_in("old")
    assert (grant.access_token, grant.refresh_token) == ("a.b.c", "d")
