"""Test a login that is renewed, unreachable and rejected during jobs, on the real processes.

They reach PostgreSQL through a pooler in transaction mode only, which is tested here as well.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import urlsplit

import psycopg2
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from autos.downloads.v1 import downloads_pb2 as pb
from dev.embedded.embedded_servers import EmbeddedServers
from dev.processes.deadline import until
from storage.postgres.database import Database
from storage.postgres.migrate import migrate
from tests.databases import create_database
from tests.pooling.pooler import Pooler
from tests.sandbox.keycloak.login import CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, SandboxLogin
from tests.sandbox.portal import SandboxPortal
from tests.sandbox.receivers.webhook_receiver import WebhookReceiver
from tests.system.job_calls import await_job, documents, finish, run, start, status
from tests.system.running_autos import Autos, running_autos

KEY = base64.urlsafe_b64encode(b"planted-encryption-key-012345678").decode()


@dataclass(frozen=True)
class Place:
    """An Autos that logs in with a refresh token, its login server and its pooler."""

    autos: Autos
    login: SandboxLogin
    pooler: Pooler


@pytest.fixture(scope="module")
def place(
    servers: EmbeddedServers,
    receiver: WebhookReceiver,
    second_port: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("login", numbered=False)
    redis_url = urlsplit(servers.env["REDIS_URL"])._replace(path="/2").geturl()
    url = create_database(servers.env["DATABASE_URL"], "behind_a_pooler")
    with closing(Database(url, max_connections=1)) as database:
        migrate(database)
    with SandboxLogin() as login, SandboxPortal() as portal, Pooler(url) as pooler:
        portal.accepts = login.accepts
        with running_autos(
            servers,
            portal,
            receiver,
            second_port,
            folder,
            REDIS_URL=redis_url,
            DATABASE_URL=pooler.url(url),
            PDPJ_TOKEN="",
            PDPJ_TOKEN_URL=login.url,
            PDPJ_CLIENT_ID=CLIENT_ID,
            PDPJ_CLIENT_SECRET=CLIENT_SECRET,
            PDPJ_REFRESH_TOKEN=REFRESH_TOKEN,
            AUTOS_ENCRYPTION_KEY=KEY,
        ) as autos:
            yield Place(autos, login, pooler)


def _health(autos: Autos) -> int:
    request = health_pb2.HealthCheckRequest(service="autos.portal")
    return int(health_pb2_grpc.HealthStub(autos.channel).Check(request, timeout=60).status)


def _execute(autos: Autos, sql: str) -> None:
    url = autos.stack.env["DATABASE_URL"]
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(sql)


def test_a_token_that_is_cut_off_in_the_middle_of_a_job_is_replaced_once(place: Place) -> None:
    autos, login = place.autos, place.login
    run(autos, autos.portal.add_case(documents=1))
    before = len(login.requests)
    number = autos.portal.add_case(documents=20)
    autos.portal.hold(number)
    job = start(autos, number).job
    autos.portal.wait_held(number)
    login.expire()
    autos.portal.release(number)

    ended = finish(autos, job.job_id)

    assert ended.state == pb.JOB_STATE_COMPLETED
    assert len(login.requests) == before + 1
    assert [request.status for request in login.requests] == [200] * len(login.requests)
    assert _health(autos) == health_pb2.HealthCheckResponse.SERVING


def test_a_rejected_login_pauses_jobs_and_is_logged_once(place: Place) -> None:
    autos, login = place.autos, place.login
    run(autos, autos.portal.add_case(documents=1))
    numbers = [autos.portal.add_case(documents=5) for _ in range(3)]
    autos.portal.hold(numbers[0])
    jobs = [start(autos, numbers[0]).job]
    autos.portal.wait_held(numbers[0])
    before, lines_before = len(login.requests), _log_lines(autos)
    login.fail("invalid_grant")
    login.expire()
    # The minimum interval between two logins has passed.
    _execute(autos, "UPDATE logins SET next_login_time = NULL")
    jobs += [start(autos, number).job for number in numbers[1:]]
    autos.portal.release(numbers[0])

    not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
    until(lambda: _health(autos) == not_serving, 60, "health does not report it")
    until(lambda: _log_lines(autos) > lines_before, 60, "no log line reports it")
    for job in jobs[1:]:
        await_job(autos, job.job_id, lambda job: job.state == pb.JOB_STATE_PROCESSING)
    assert status(autos, jobs[0].job_id).state == pb.JOB_STATE_PROCESSING

    # A quarter of an hour later, with a login server that answers again.
    login.fail(None)
    _execute(autos, "UPDATE logins SET refused_until = clock_timestamp(), next_login_time = NULL")
    for job in jobs:
        assert finish(autos, job.job_id).state == pb.JOB_STATE_COMPLETED

    assert [request.status for request in login.requests[before:]] == [400, 200]
    assert _log_lines(autos) == lines_before + 1
    until(lambda: _health(autos) != not_serving, 60, "health does not report its end")


def test_no_log_line_holds_a_secret_of_the_login(place: Place) -> None:
    lines = "\n".join(place.autos.lines)

    assert "portal login" in lines
    known = (CLIENT_SECRET, REFRESH_TOKEN, place.login.refresh_token, KEY, "access-", "refresh-")
    assert [secret for secret in known if secret in lines] == []


# The pooler.


def test_a_job_is_watched_to_its_end_and_its_webhook_is_sent(place: Place) -> None:
    autos = place.autos
    hook = autos.receiver.url_of("/pooled")

    job = run(autos, autos.portal.add_case(documents=30), webhook_url=hook)

    assert job.state == pb.JOB_STATE_COMPLETED
    states = {document.state for document in documents(autos, job)}
    assert states == {pb.DOCUMENT_STATE_AVAILABLE}
    assert autos.receiver.wait_for(1, 60, "/pooled")
    assert place.pooler.left == []


def test_a_job_is_cancelled(place: Place) -> None:
    autos = place.autos
    number = autos.portal.add_case(documents=12)
    autos.portal.hold(number)
    job = start(autos, number).job
    autos.portal.wait_held(number, 5)

    autos.api.CancelJob(pb.CancelJobRequest(job_id=job.job_id), timeout=60)

    assert finish(autos, job.job_id).state == pb.JOB_STATE_CANCELLED
    autos.portal.release(number)
    assert place.pooler.left == []


def test_no_process_misses_a_setting(place: Place) -> None:
    assert not [line for line in place.autos.lines if "sessions lack settings" in line]


def _log_lines(autos: Autos) -> int:
    return sum("portal login refused" in line for line in autos.lines)
