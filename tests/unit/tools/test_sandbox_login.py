"""Test that the sandbox login server behaves as the other tests require."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from dev.processes.deadline import until
from tests.sandbox.keycloak.login import (
    CLIENT_ID,
    CLIENT_SECRET,
    FAULTS,
    REFRESH_TOKEN,
    SandboxLogin,
)

CLIENT = {
    "grant_type": "client_credentials",
    "client_id": CLIENT_ID,
    "client_secret": CLIENT_SECRET,
}
PERSON = {**CLIENT, "grant_type": "refresh_token", "refresh_token": REFRESH_TOKEN}


@pytest.fixture
def login() -> Iterator[SandboxLogin]:
    with SandboxLogin() as running:
        yield running


def _post(login: SandboxLogin, form: dict[str, str]) -> tuple[int, Any]:
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(login.url, data=form, timeout=60, allow_redirects=False)
        is_json = answer.headers.get("Content-Type") == "application/json"
        return answer.status_code, answer.json() if is_json and answer.text.strip() else {}


def test_its_tokens_are_good_until_their_end(login: SandboxLogin) -> None:
    status, granted = _post(login, CLIENT)
    assert (status, granted["expires_in"]) == (200, 8 * 3600)
    assert login.accepts(granted["access_token"])
    assert not login.accepts("another")

    login.expire()
    assert not login.accepts(granted["access_token"])
    login.expires_in = 0.05
    _, short = _post(login, CLIENT)
    until(lambda: not login.accepts(short["access_token"]), 60, "it never ends")


def test_a_refresh_token_is_good_once(login: SandboxLogin) -> None:
    _, first = _post(login, PERSON)
    assert _post(login, PERSON) == (400, {"error": "invalid_grant", **_described("Not active")})
    _, second = _post(login, {**PERSON, "refresh_token": first["refresh_token"]})

    assert login.accepts(second["access_token"])
    assert [request.status for request in login.requests] == [200, 400, 200]


def _described(text: str) -> dict[str, str]:
    return {"error_description": text}


@pytest.mark.parametrize(
    "change", [{"client_id": "x"}, {"client_secret": "x"}, {"grant_type": "password"}]
)
def test_wrong_forms_are_refused(login: SandboxLogin, change: dict[str, str]) -> None:
    assert _post(login, {**CLIENT, **change})[0] in (400, 401)


def test_a_public_client_has_no_credentials_of_its_own(login: SandboxLogin) -> None:
    login.client_secret = None

    assert _post(login, {**CLIENT, "client_secret": "whatever"})[0] == 400
    assert _post(login, {**PERSON, "client_secret": "whatever"})[0] == 200


@pytest.mark.parametrize("how", sorted(FAULTS))
def test_it_fails_as_a_test_sets_and_recovers(login: SandboxLogin, how: str) -> None:
    login.fail(how)
    assert [_post(login, CLIENT)[0] for _ in range(2)] == [FAULTS[how].status] * 2
    login.fail(None)
    assert _post(login, CLIENT)[0] == 200
