"""Test the portal's token: the newest of all processes, one login at a time, rejections for all."""

from __future__ import annotations

import base64
import json
import logging
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from urllib.parse import urlsplit, urlunsplit

import psycopg2
import pytest
from structlog.testing import capture_logs

from actors.login.login_breaker import LoginBreaker
from actors.login.token_source import RefreshedToken, StaticToken
from actors.portal.portal_client import Portal
from dev.processes.deadline import until
from storage.errors import (
    ConfigurationError,
    CredentialsRefused,
    PermanentError,
    ServiceUnavailable,
)
from storage.listings.listed_case import ListedDocument
from storage.login import login_blocks, logins
from storage.login.login_values import Cipher, Evidence, Grant, Login
from storage.postgres.database import Database
from storage.settings import Settings
from tests.integration.harness.concurrency import run_concurrently
from tests.integration.harness.token_sources import (
    KEY,
    OTHER_KEY,
    login_settings,
    pass_time,
    portal_with,
    refreshed,
    rows,
    settings,
    static,
)
from tests.sandbox.keycloak.login import CLIENT_SECRET, REFRESH_TOKEN, SandboxLogin
from tests.sandbox.portal import SandboxPortal

CASE = "1003579-22.2025.8.26.0564"
A_MINUTE_BEFORE_THE_END = 8 * 3600 - 59
REFUSED = (
    *("invalid_grant", "invalid_client", "unauthorized_client", "forbidden"),
    "invalid_grant_with_200",
)
AWAY = ("busy", "too-fast", "page", "firewall", "empty", "redirect", "large")


@pytest.fixture
def login() -> Iterator[SandboxLogin]:
    with SandboxLogin() as running:
        yield running


@pytest.fixture
def portal(login: SandboxLogin) -> Iterator[SandboxPortal]:
    """Yield a portal that accepts the login's tokens."""
    with SandboxPortal() as running:
        running.accepts = login.accepts
        yield running


@pytest.fixture
def client(login: SandboxLogin) -> Settings:
    """Return settings for client_credentials."""
    return login_settings(login)


@pytest.fixture
def person(login: SandboxLogin) -> Settings:
    """Return settings for a public client's refresh token."""
    login.client_secret = None
    return login_settings(login, PDPJ_CLIENT_SECRET="", PDPJ_REFRESH_TOKEN=REFRESH_TOKEN)


def _grants(login: SandboxLogin) -> list[str]:
    return [request.grant for request in login.requests]


def _only(*tokens: str) -> Callable[[str], bool]:
    """Run a portal that accepts these tokens only."""
    return tokens.__contains__


def _release_the_first(login: SandboxLogin) -> None:
    until(lambda: bool(login.requests), 60, "no login")
    login.release()


def _refused(tokens: RefreshedToken) -> CredentialsRefused:
    with pytest.raises(CredentialsRefused) as caught:
        tokens.current()
    return caught.value


def _jwt(**claims: float) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{body}.c2lnbmF0dXJl"


# One login for all.


def test_the_first_request_logs_in_and_the_others_use_its_token(
    database: Database, login: SandboxLogin, client: Settings
) -> None:
    first, second = refreshed(database, client), refreshed(database, client)

    token = first.current()

    assert login.accepts(token)
    assert [first.current(), second.current(), second.current()] == [token] * 3
    assert _grants(login) == ["client_credentials"]
    assert login.requests[0].form["scope"] == "openid"


def test_sixteen_threads_of_two_processes_that_start_at_once_make_one_login(
    database: Database, login: SandboxLogin, client: Settings
) -> None:
    login.hold()
    sources = [refreshed(database, client), refreshed(database, client)]
    with ThreadPoolExecutor(1) as pool:
        # Only while one login is in progress: the others have begun by then, or find its token.
        pool.submit(_release_the_first, login)
        got = run_concurrently([source.current for source in sources for _ in range(8)])

    assert len(set(got)) == 1
    assert _grants(login) == ["client_credentials"]


def test_sixteen_threads_whose_token_is_refused_make_one_login(
    database: Database, login: SandboxLogin, client: Settings
) -> None:
    sources = [refreshed(database, client), refreshed(database, client)]
    old = {source.current() for source in sources}.pop()
    login.expire()

    got = run_concurrently([partial(s.renew, old, CASE) for s in sources for _ in range(8)])

    assert len(set(got)) == 1
    assert got[0] != old
    assert login.accepts(got[0])
    assert len(login.requests) == 2


def test_a_token_is_refreshed_a_minute_early_and_not_before(
    database: Database, login: SandboxLogin, client: Settings
) -> None:
    old = refreshed(database, client).current()
    pass_time(database, A_MINUTE_BEFORE_THE_END - 60)
    assert refreshed(database, client).current() == old

    pass_time(database, 60)
    new = refreshed(database, client).current()

    assert new != old
    assert len(login.requests) == 2


def test_a_process_refreshes_what_it_holds_in_memory_as_well(
    database: Database, login: SandboxLogin, client: Settings
) -> None:
    login.expires_in = 0.2  # fresh for half of it
    tokens = refreshed(database, client)

    old = tokens.current()
    until(lambda: tokens.current() != old, 60, "the token was never refreshed")


def test_while_one_refreshes_the_others_go_on_with_what_is_still_good(
    database: Database, login: SandboxLogin, client: Settings
) -> None:
    old = refreshed(database, client).current()
    pass_time(database, A_MINUTE_BEFORE_THE_END)
    login.hold()
    one, other = refreshed(database, client), refreshed(database, client)
    with ThreadPoolExecutor(1) as pool:
        refreshing = pool.submit(one.current)
        until(lambda: len(login.requests) == 2, 60, "no second login")

        assert other.current() == old
        assert not refreshing.done()
        login.release()
        assert refreshing.result(60) != old


def test_a_lease_that_a_dead_process_left_is_taken_over(
    database: Database, login: SandboxLogin, client: Settings
) -> None:
    known = Login.of(client)
    logins.next_token_action(
        database, known, Cipher(client.encryption_keys), refused=None, interval_s=0
    )
    pass_time(database, logins.LEASE_S + 1)

    assert login.accepts(refreshed(database, client).current())


@pytest.mark.parametrize(
    ("says", "life_s", "fresh_s"),
    [(True, 600.0, 540.0), (True, 60.0, 30.0), (False, 8 * 3600.0, 8 * 3600 - 60.0)],
)
def test_the_life_of_a_token_is_its_announced_one_or_eight_hours(
    database: Database,
    login: SandboxLogin,
    client: Settings,
    says: bool,
    life_s: float,
    fresh_s: float,
) -> None:
    login.expires_in, login.says_expires_in = life_s, says
    refreshed(database, client).current()

    token = logins.next_token_action(
        database, Login.of(client), Cipher(client.encryption_keys), refused=None, interval_s=0
    ).token
    assert token
    assert fresh_s - 30 < token.fresh_for_s <= fresh_s
    assert life_s - 30 < token.good_for_s <= life_s


# Refresh tokens.


def test_a_refresh_token_is_changed_for_the_newest_and_that_one_is_kept(
    database: Database, login: SandboxLogin, person: Settings
) -> None:
    tokens = refreshed(database, person)
    first = tokens.current()
    second = tokens.renew(first, CASE)
    # A later process with the environment's token: that token is used up, the newest is not.
    third = refreshed(database, person).renew(second, CASE)

    assert login.accepts(third)
    used = [request.form["refresh_token"] for request in login.requests]
    assert used[0] == REFRESH_TOKEN
    assert len(set(used)) == 3
    assert [request.status for request in login.requests] == [200] * 3
    assert all("client_secret" not in request.form for request in login.requests)


def test_an_answer_without_a_new_refresh_token_keeps_the_old_one(
    database: Database, login: SandboxLogin, person: Settings
) -> None:
    login.rotates = False
    tokens = refreshed(database, person)
    tokens.renew(tokens.current(), CASE)

    assert [r.form["refresh_token"] for r in login.requests] == [REFRESH_TOKEN] * 2


def test_a_confidential_client_sends_its_secret_with_the_refresh_token(
    database: Database, login: SandboxLogin
) -> None:
    both = login_settings(login, PDPJ_REFRESH_TOKEN=REFRESH_TOKEN)

    assert login.accepts(refreshed(database, both).current())
    assert _grants(login) == ["refresh_token"]
    assert login.requests[0].form["client_secret"] == CLIENT_SECRET


def test_a_refresh_token_that_the_operator_has_changed_wins_over_what_is_stored(
    database: Database, login: SandboxLogin, person: Settings
) -> None:
    refreshed(database, person).current()
    login.refresh_token = "a-new-login-of-the-person"
    changed = login_settings(login, PDPJ_CLIENT_SECRET="", PDPJ_REFRESH_TOKEN=login.refresh_token)

    assert login.accepts(refreshed(database, changed).current())
    assert login.requests[-1].form["refresh_token"] == "a-new-login-of-the-person"


def test_a_new_client_secret_keeps_the_line_of_refresh_tokens(
    database: Database, login: SandboxLogin
) -> None:
    both = login_settings(login, PDPJ_REFRESH_TOKEN=REFRESH_TOKEN)
    token = refreshed(database, both).current()
    login.client_secret = "another-secret"
    changed = login_settings(
        login, PDPJ_REFRESH_TOKEN=REFRESH_TOKEN, PDPJ_CLIENT_SECRET="another-secret"
    )

    assert login.accepts(refreshed(database, changed).renew(token, CASE))
    assert login.requests[-1].form["refresh_token"] != REFRESH_TOKEN


def test_what_a_stalled_process_got_is_kept_if_it_is_the_newest(
    database: Database, person: Settings
) -> None:
    known, cipher = Login.of(person), Cipher(person.encryption_keys)
    stalled = logins.next_token_action(database, known, cipher, refused=None, interval_s=0).attempt
    pass_time(database, logins.LEASE_S + 1)
    other = logins.next_token_action(database, known, cipher, refused=None, interval_s=0).attempt
    assert stalled
    assert other
    # The other login was rejected, since the stalled one had used up the refresh token.
    assert logins.record_rejection(database, known, other, "no")

    assert logins.store(database, known, cipher, stalled, Grant("access", "newest", 600))
    found = logins.next_token_action(database, known, cipher, refused=None, interval_s=0)
    assert found.token
    assert found.token.access_token == "access"


def test_what_is_not_the_newest_is_not_kept(database: Database, person: Settings) -> None:
    known, cipher = Login.of(person), Cipher(person.encryption_keys)
    stalled = logins.next_token_action(database, known, cipher, refused=None, interval_s=0).attempt
    pass_time(database, logins.LEASE_S + 1)
    other = logins.next_token_action(database, known, cipher, refused=None, interval_s=0).attempt
    assert stalled
    assert other
    assert logins.store(database, known, cipher, other, Grant("access", "newest", 600))

    assert logins.store(database, known, cipher, stalled, Grant("late", "late", 600)) is None
    assert not logins.record_rejection(database, known, stalled, "late")
    logins.failed(database, known, stalled, interval_s=60, pause_s=None)
    found = logins.next_token_action(database, known, cipher, refused="access", interval_s=0)
    assert found.attempt
    assert found.attempt.refresh_token == "newest"


# Encryption.


def test_no_row_holds_a_token_or_a_secret_as_it_is(database: Database, login: SandboxLogin) -> None:
    both = login_settings(login, PDPJ_REFRESH_TOKEN=REFRESH_TOKEN)
    token = refreshed(database, both).current()
    static(database, "planted-static-token").rejected("planted-static-token", CASE)

    text = repr(rows(database))
    assert len(rows(database)) == 2
    for secret in (token, login.refresh_token, REFRESH_TOKEN, CLIENT_SECRET, KEY, "planted-static"):
        assert secret not in text
    assert repr(rows(database)[0]["access_token"]) in text


def test_while_keys_are_rotated_the_old_one_reads_and_the_first_one_writes(
    database: Database, login: SandboxLogin, person: Settings
) -> None:
    token = refreshed(database, person).current()
    both = login_settings(
        login,
        PDPJ_CLIENT_SECRET="",
        PDPJ_REFRESH_TOKEN=REFRESH_TOKEN,
        AUTOS_ENCRYPTION_KEY=f"{OTHER_KEY},{KEY}",
    )
    assert refreshed(database, both).current() == token
    newer = refreshed(database, both).renew(token, CASE)

    only_new = login_settings(
        login,
        PDPJ_CLIENT_SECRET="",
        PDPJ_REFRESH_TOKEN=REFRESH_TOKEN,
        AUTOS_ENCRYPTION_KEY=OTHER_KEY,
    )
    assert refreshed(database, only_new).current() == newer


def test_a_row_that_no_key_decrypts_is_logged_and_the_settings_are_used(
    database: Database, login: SandboxLogin, person: Settings
) -> None:
    login.rotates = False
    refreshed(database, person).current()
    without = login_settings(
        login,
        PDPJ_CLIENT_SECRET="",
        PDPJ_REFRESH_TOKEN=REFRESH_TOKEN,
        AUTOS_ENCRYPTION_KEY=OTHER_KEY,
    )
    with capture_logs() as lines:
        token = refreshed(database, without).current()
        again = refreshed(database, without).current()

    assert login.accepts(token)
    assert again == token
    error_lines = [line for line in lines if line["log_level"] == "error"]
    assert [line["event"] for line in error_lines] == ["stored login cannot be decrypted"]


# Rejected.


@pytest.mark.parametrize("how", REFUSED)
def test_a_rejected_login_is_logged_once_and_not_retried_by_any_process(
    database: Database, login: SandboxLogin, client: Settings, how: str
) -> None:
    login.fail(how)
    sources = [refreshed(database, client), refreshed(database, client)]
    with capture_logs() as lines:
        for tokens in (*sources, *sources, refreshed(database, client)):
            assert 800 < _refused(tokens).held_for_s <= 900

    assert len(login.requests) == 1
    assert [line["event"] for line in lines] == ["portal login refused"]
    assert CLIENT_SECRET not in repr(lines)
    known = Login.of(client)
    with database.transaction() as transaction:
        assert login_blocks.hold(transaction, known)
    assert login_blocks.troubles(database, known)
    assert "refused the credentials" in login_blocks.troubles(database, known)[0]


def test_a_refused_login_is_tried_again_after_a_quarter_of_an_hour(
    database: Database, login: SandboxLogin, client: Settings
) -> None:
    login.fail("invalid_client")
    tokens = refreshed(database, client)
    _refused(tokens)
    login.fail(None)
    pass_time(database, 14 * 60)
    _refused(refreshed(database, client))
    assert len(login.requests) == 1

    pass_time(database, 61)

    assert login.accepts(refreshed(database, client).current())
    assert not login_blocks.troubles(database, Login.of(client))


def test_a_refused_login_is_tried_again_when_the_credentials_change(
    database: Database, login: SandboxLogin, client: Settings
) -> None:
    login.client_secret = "the-right-secret"
    _refused(refreshed(database, client))
    changed = login_settings(login, PDPJ_CLIENT_SECRET="the-right-secret")

    assert login.accepts(refreshed(database, changed).current())
    assert not login_blocks.troubles(database, Login.of(changed))
    assert not login_blocks.troubles(database, Login.of(client))


def test_a_process_detects_a_rejection_although_its_token_is_still_good(
    database: Database, login: SandboxLogin, client: Settings
) -> None:
    tokens = refreshed(database, client)
    tokens.current()
    assert login_blocks.block_if_rejected(database, Login.of(client), "no")

    def is_refused() -> bool:
        try:
            tokens.current()
        except CredentialsRefused:
            return True
        return False

    until(is_refused, 60, "the refusal was never heard of")


# Unavailable.


@pytest.mark.parametrize("how", AWAY)
def test_an_unavailable_login_is_no_rejection_and_counts_no_attempt(
    database: Database, login: SandboxLogin, client: Settings, how: str
) -> None:
    login.fail(how)
    tokens = refreshed(database, client, interval_s=60.0)
    with capture_logs() as lines:
        for _ in range(5):
            with pytest.raises(ServiceUnavailable) as caught:
                tokens.current()
            assert not isinstance(caught.value, CredentialsRefused)
            assert str(caught.value) == "The portal's login is not available right now."

    # The pause before the next login exceeds every waiting time.
    assert len(login.requests) == 1
    assert [line["event"] for line in lines] == ["portal login failed"]
    assert not login_blocks.troubles(database, Login.of(client))
    if how == "too-fast":
        pass_time(database, 100)
        with pytest.raises(ServiceUnavailable):
            tokens.current()
        assert len(login.requests) == 1


def test_the_pauses_between_failed_logins_grow(
    database: Database, login: SandboxLogin, client: Settings
) -> None:
    login.fail("busy")
    known, cipher = Login.of(client), Cipher(client.encryption_keys)
    pauses: list[float] = []
    for _ in range(8):
        with pytest.raises(ServiceUnavailable):
            refreshed(database, client, interval_s=60.0).current()
        pauses.append(
            logins.next_token_action(database, known, cipher, refused=None, interval_s=60.0).wait_s
        )
        pass_time(database, logins.FAILURE_CAP_S + 1)

    assert len(login.requests) == 8
    assert pauses == pytest.approx([60, 120, 240, *[300] * 5], abs=30)


def test_a_good_token_is_used_while_the_login_is_away(
    database: Database, login: SandboxLogin, client: Settings
) -> None:
    old = refreshed(database, client).current()
    pass_time(database, A_MINUTE_BEFORE_THE_END - 30)
    login.fail("busy")
    pass_time(database, 30)

    tokens = refreshed(database, client, interval_s=60.0)
    assert [tokens.current(), tokens.current()] == [old, old]
    assert len(login.requests) == 2


def test_a_login_that_hangs_ends_in_time(
    database: Database, login: SandboxLogin, client: Settings
) -> None:
    login.hold()
    tokens = refreshed(database, client, client={"limit_s": 0.5}, interval_s=60.0)

    with pytest.raises(ServiceUnavailable):
        tokens.current()
    assert len(login.requests) == 1


def test_between_two_logins_of_any_processes_lies_the_interval(
    database: Database, login: SandboxLogin, client: Settings
) -> None:
    token = refreshed(database, client, interval_s=3600.0).current()
    login.expire()

    with pytest.raises(ServiceUnavailable):
        refreshed(database, client, interval_s=3600.0).renew(token, CASE)
    assert len(login.requests) == 1

    pass_time(database, 3601)
    assert login.accepts(refreshed(database, client, interval_s=3600.0).renew(token, CASE))


def test_what_a_login_gave_is_not_lost_while_postgresql_is_away(
    database: Database, database_url: str, login: SandboxLogin, person: Settings
) -> None:
    login.hold()
    tokens = refreshed(database, person)
    with capture_logs() as lines, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(tokens.current)
        until(lambda: bool(login.requests), 60, "no login")
        with _away(database_url):
            login.release()
            until(lambda: "waiting to record what was done" in repr(lines), 60, "not noticed")
        token = waiting.result(60)

    assert login.accepts(token)
    assert len(login.requests) == 1
    newer = refreshed(database, person).renew(token, CASE)
    assert login.accepts(newer)


@contextmanager
def _away(database_url: str) -> Iterator[None]:
    """Disconnect every thread from the database inside the block."""
    name = urlsplit(database_url).path.strip("/")
    server = urlunsplit(urlsplit(database_url)._replace(path="/postgres"))
    with closing(psycopg2.connect(server)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
            )
            yield
            cursor.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true')


# At the portal.


def test_a_401_in_the_middle_refreshes_once_and_goes_on(
    database: Database, login: SandboxLogin, portal: SandboxPortal, client: Settings
) -> None:
    number = portal.add_case(documents=6)
    here = portal_with(portal.url, refreshed(database, client))
    listed = here.list_case(number, 30).documents
    _fetch(here, number, listed[0])
    login.expire()

    for document in listed[1:]:
        _fetch(here, number, document)

    assert len(login.requests) == 2
    assert [r.status for r in portal.requests].count(401) == 1
    here.close()


def test_no_standing_in_a_case_never_touches_the_token(
    database: Database, login: SandboxLogin, portal: SandboxPortal, client: Settings
) -> None:
    here = portal_with(portal.url, refreshed(database, client))
    numbers = [portal.add_case(documents=1, list_fault="no-access") for _ in range(4)]
    for number in numbers:
        assert _reason(here, number) == "NO_ACCESS"

    assert len(login.requests) == 1
    assert len(portal.requests) == 4
    assert rows(database)[0]["doubtful_case"] is None
    here.close()


def test_a_case_that_stays_at_401_gets_one_new_token_and_no_more(
    database: Database, login: SandboxLogin, portal: SandboxPortal, client: Settings
) -> None:
    number = portal.add_case(documents=4, faults=dict.fromkeys(range(3), "expired-token"))
    here = portal_with(portal.url, refreshed(database, client))
    listed = here.list_case(number, 30).documents

    for document in listed[:3]:
        with pytest.raises(PermanentError) as caught:
            _fetch(here, number, document)
        assert caught.value.reason == "CREDENTIALS_REJECTED"
    _fetch(here, number, listed[3])

    assert len(login.requests) == 2
    assert not login_blocks.troubles(database, Login.of(client))
    here.close()


def test_a_login_whose_tokens_no_case_takes_counts_as_refused(
    database: Database, login: SandboxLogin, portal: SandboxPortal, client: Settings
) -> None:
    portal.accepts = _only()
    here = portal_with(portal.url, refreshed(database, client))
    numbers = [portal.add_case(documents=1) for _ in range(3)]

    assert _reason(here, numbers[0]) == "CREDENTIALS_REJECTED"
    asked = len(portal.requests)
    for number in (numbers[1], numbers[2], numbers[0]):
        with pytest.raises(CredentialsRefused):
            here.list_case(number, 30)
    assert len(portal.requests) <= asked + 2
    assert login_blocks.troubles(database, Login.of(client))
    here.close()


# A token from the settings.


def test_one_case_at_401_is_its_own_affair(database: Database, portal: SandboxPortal) -> None:
    bad = [portal.add_case(documents=1, list_fault="expired-token") for _ in range(2)]
    good = portal.add_case(documents=1)
    portal.accepts = _only("given")
    here = portal_with(portal.url, static(database, "given"))

    for number in (bad[0], bad[0], bad[0]):
        assert _reason(here, number) == "CREDENTIALS_REJECTED"
    here.list_case(good, 30)
    assert _reason(here, bad[1]) == "CREDENTIALS_REJECTED"
    here.list_case(good, 30)
    assert _reason(here, bad[0]) == "CREDENTIALS_REJECTED"

    assert rows(database)[0]["refused_until"] is None
    here.close()


def test_a_good_answer_of_another_process_ends_the_doubt(
    database: Database, portal: SandboxPortal
) -> None:
    bad = [portal.add_case(documents=1, list_fault="expired-token") for _ in range(2)]
    portal.accepts = _only("given")
    one, other = (portal_with(portal.url, static(database, "given")) for _ in range(2))

    assert _reason(one, bad[0]) == "CREDENTIALS_REJECTED"
    other.list_case(portal.add_case(documents=1), 30)
    assert _reason(one, bad[1]) == "CREDENTIALS_REJECTED"
    one.close()
    other.close()


def test_a_token_that_two_cases_refuse_in_a_row_is_held_for_all(
    database: Database, portal: SandboxPortal
) -> None:
    numbers = [portal.add_case(documents=1) for _ in range(3)]
    portal.accepts = _only()
    one, other = (portal_with(portal.url, static(database, "given")) for _ in range(2))
    with capture_logs() as lines:
        assert _reason(one, numbers[0]) == "CREDENTIALS_REJECTED"
        with pytest.raises(CredentialsRefused):
            other.list_case(numbers[1], 30)
        for here in (one, other):
            with pytest.raises(CredentialsRefused):
                here.list_case(numbers[2], 30)

    assert [line["event"] for line in lines].count("portal login refused") == 1
    known = Login.of(settings(PDPJ_TOKEN="given"))
    assert login_blocks.troubles(database, known)
    # A token that the operator has changed is tried at once.
    portal.accepts = _only("another")
    third = portal_with(portal.url, static(database, "another"))
    third.list_case(numbers[0], 30)
    for here in (one, other, third):
        here.close()


def test_after_the_hold_the_token_is_tried_once_more(
    database: Database, portal: SandboxPortal
) -> None:
    numbers = [portal.add_case(documents=1) for _ in range(2)]
    portal.accepts = _only()
    here = portal_with(portal.url, static(database, "given"))
    _reason(here, numbers[0])
    with pytest.raises(CredentialsRefused):
        here.list_case(numbers[1], 30)
    here.close()

    # Still rejected: the first 401 is enough, even for the case that came first before.
    pass_time(database, login_blocks.REFUSED_S + 1)
    second = portal_with(portal.url, static(database, "given"))
    with pytest.raises(CredentialsRefused):
        second.list_case(numbers[0], 30)
    second.close()

    # The token is accepted again: no trace of the rejection is left.
    pass_time(database, login_blocks.REFUSED_S + 1)
    portal.accepts = _only("given")
    third = portal_with(portal.url, static(database, "given"))
    third.list_case(numbers[0], 30)
    third.close()
    assert (rows(database)[0]["doubtful_case"], rows(database)[0]["refused_until"]) == (None, None)


def test_a_good_answer_that_was_under_way_ends_a_hold_that_came_of_a_doubt(
    database: Database, portal: SandboxPortal
) -> None:
    known = Login.of(settings(PDPJ_TOKEN="given"))
    tokens = static(database, "given")
    token = tokens.current()
    evidence = login_blocks.record_unauthorized(database, known, CASE, good_s_ago=None)
    assert evidence is Evidence.NONE
    assert login_blocks.block_if_rejected(database, known, "one case after another")

    def is_good_again() -> bool:
        tokens.accepted(token, time.monotonic())
        return not login_blocks.troubles(database, known)

    until(is_good_again, 60, "the hold has not ended")


def test_a_good_answer_does_not_end_what_the_login_refused(
    database: Database, login: SandboxLogin, client: Settings
) -> None:
    tokens = refreshed(database, client)
    token = tokens.current()
    login.fail("invalid_grant")
    pass_time(database, A_MINUTE_BEFORE_THE_END)
    other = refreshed(database, client)
    _refused(other)

    for _ in range(3):
        other.accepted(token, time.monotonic())
        tokens.accepted(token, time.monotonic())
    assert login_blocks.troubles(database, Login.of(client))


def test_a_token_past_its_end_is_refused_without_asking(
    database: Database, portal: SandboxPortal
) -> None:
    over = _jwt(exp=time.time() - 1)
    here = portal_with(portal.url, static(database, over))
    with capture_logs() as lines:
        for _ in range(3):
            with pytest.raises(CredentialsRefused):
                here.list_case(portal.add_case(documents=1), 30)
    here.close()

    assert portal.requests == []
    assert [line["event"] for line in lines] == ["portal login refused"]
    assert over not in repr(lines)
    good = _jwt(exp=time.time() + 3600)
    assert static(database, good).current() == good


def test_good_answers_write_nothing(database: Database, portal: SandboxPortal) -> None:
    portal.accepts = _only("given")
    here = portal_with(portal.url, static(database, "given"))
    number = portal.add_case(documents=3)
    for document in here.list_case(number, 30).documents:
        _fetch(here, number, document)
    here.close()

    assert rows(database) == []


@pytest.mark.parametrize("token", ["", "a b", "a\r\nX: y", "ação", "x\n"])
def test_a_token_that_no_header_can_hold_is_refused_unseen(database: Database, token: str) -> None:
    watch = LoginBreaker(database, Login("any", "any"))
    with pytest.raises(ConfigurationError) as caught:
        StaticToken(token, watch)
    assert token not in str(caught.value) or not token


# Secrets.


@pytest.mark.parametrize("how", [*REFUSED, *AWAY, "nobody"])
def test_no_error_log_line_or_repr_holds_a_secret(
    database: Database, login: SandboxLogin, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    known = login_settings(login, PDPJ_REFRESH_TOKEN=REFRESH_TOKEN)
    if how == "nobody":
        known = replace(known, pdpj_token_url="http://127.0.0.1:1/token")
    else:
        login.fail(how)
    tokens = refreshed(database, known, interval_s=60.0)
    with caplog.at_level(logging.DEBUG), capture_logs() as lines:
        with pytest.raises(ServiceUnavailable) as caught:
            tokens.current()
        shown = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))

    client = vars(tokens)["_client"]
    text = f"{shown} {caplog.text} {lines} {tokens!r} {client!r} {known!r} {rows(database)}"
    assert lines
    for secret in (REFRESH_TOKEN, CLIENT_SECRET, KEY):
        assert secret not in text
    assert "http" not in str(caught.value)


def _fetch(here: Portal, number: str, document: ListedDocument) -> None:
    here.fetch(number, document.hrefs[0], lambda _: None, expected=document, limit_s=30)


def _reason(here: Portal, number: str) -> str:
    with pytest.raises(PermanentError) as caught:
        here.list_case(number, 30)
    return caught.value.reason
