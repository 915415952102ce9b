"""Test when `release` stays, and what it waits for."""

from __future__ import annotations

import pytest

from storage.errors import ServiceRefused, ServiceUnavailable
from storage.release import is_below_starter, repeat_while_unavailable


@pytest.mark.parametrize(
    ("env", "stays"),
    [
        ({}, False),
        ({"HONCHO_PROCESS_NAME": "release.1"}, True),
        ({"PS": "release.1"}, True),
        ({"PS": "release"}, True),
        # A shell that a starter has started for another line.
        ({"PS": "server.1"}, False),
        # Heroku waits for the end.
        ({"PS": "release.1", "DYNO": "release.1234"}, False),
    ],
)
def test_release_stays_below_a_starter_only(env: dict[str, str], stays: bool) -> None:
    assert is_below_starter(env) is stays


def test_release_waits_for_an_unavailable_server_but_not_after_a_refusal() -> None:
    attempts: list[int] = []

    def work() -> str:
        attempts.append(1)
        if len(attempts) == 1:
            raise ServiceUnavailable("PostgreSQL")
        return "done"

    def refuse() -> str:
        attempts.append(1)
        raise ServiceRefused("PostgreSQL", "session", "28P01", "wrong password")

    assert repeat_while_unavailable(work, pause_s=0) == "done"
    assert len(attempts) == 2
    with pytest.raises(ServiceRefused):
        repeat_while_unavailable(refuse, pause_s=0)
    assert len(attempts) == 3
