"""Test a store or a portal that rejects: jobs hold, health reports it, no attempt counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from autos.downloads.v1 import downloads_pb2 as pb
from dev.embedded.embedded_servers import EmbeddedServers
from dev.processes.deadline import until
from tests.conftest import PORTAL_TOKEN
from tests.network.certificates import Certificate
from tests.network.store_proxy import No, StoreProxy, store_proxy
from tests.network.tls_front import TlsFront, tls_front
from tests.sandbox.portal import SandboxPortal
from tests.sandbox.receivers.webhook_receiver import WebhookReceiver
from tests.system.job_calls import CALL_S, await_job, documents, finish, start
from tests.system.running_autos import Autos, running_autos

# Autos retries a rejected request after a minute at most.
DEADLINE_S = 150.0
DOCUMENTS = 3


def _is_held(job: pb.Job) -> bool:
    return job.HasField("hold")


def _serves(autos: Autos, name: str) -> bool:
    stub = health_pb2_grpc.HealthStub(autos.channel)
    request = health_pb2.HealthCheckRequest(service=name)
    answer = stub.Check(request, timeout=CALL_S)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _assert_ends_after_one_attempt(autos: Autos, job: pb.Job) -> None:
    ended = finish(autos, job.job_id, deadline_s=DEADLINE_S)
    assert ended.state == pb.JOB_STATE_COMPLETED
    assert [each.attempt_count for each in documents(autos, ended)] == [1] * DOCUMENTS


def _lines(autos: Autos, code: str) -> list[str]:
    return [line for line in autos.lines if code in line and "part refuses" in line]


@dataclass(frozen=True)
class Refusing:
    """An Autos, and what stands before its store and its portal. Both let everything through."""

    autos: Autos
    store: StoreProxy
    front: TlsFront
    authority: Certificate


@pytest.fixture(scope="module")
def place(
    servers: EmbeddedServers, receiver: WebhookReceiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Refusing]:
    folder = tmp_path_factory.mktemp("refusing", numbered=False)
    authority = Certificate.authority()
    (folder / "ca.pem").write_bytes(authority.pem)
    with (
        SandboxPortal(token=PORTAL_TOKEN) as portal,
        tls_front(urlsplit(portal.url).port or 0, folder) as front,
        store_proxy(servers.env["S3_ENDPOINT_URL"]) as store,
    ):
        front.show(authority.for_loopback())
        with running_autos(
            servers,
            portal,
            receiver,
            1,
            folder,
            REDIS_URL=urlsplit(servers.env["REDIS_URL"])._replace(path="/2").geturl(),
            S3_ENDPOINT_URL=store.url,
            PDPJ_BASE_URL=front.url,
            PDPJ_CA_FILE=str(folder / "ca.pem"),
        ) as autos:
            yield Refusing(autos, store, front, authority)


# First, since no process has a connection with the portal yet.
def test_an_untrusted_portal_gets_requests_once_it_is_trusted(place: Refusing) -> None:
    # Given a portal with a certificate of an untrusted authority
    autos = place.autos
    place.front.show(Certificate.authority().for_loopback())
    number = autos.portal.add_case(documents=DOCUMENTS)
    job = start(autos, number).job

    # Then the job and health report it, and no request was sent
    held = await_job(autos, job.job_id, _is_held)
    assert held.hold.reason == "PORTAL_UNTRUSTED"
    until(lambda: not _serves(autos, "autos.portal"), DEADLINE_S, "Health does not report it.")
    assert autos.portal.request_count(number) == 0
    assert 1 <= len(_lines(autos, "CERTIFICATE_NOT_TRUSTED")) <= 4, "once a process"

    # When its certificate is trusted, the job continues without intervention
    place.front.show(place.authority.for_loopback())
    _assert_ends_after_one_attempt(autos, job)
    until(lambda: _serves(autos, "autos.portal"), DEADLINE_S, "Health stays wrong.")


def test_files_that_the_bucket_refuses_wait_until_it_takes_them(place: Refusing) -> None:
    # Given a bucket that rejects every document
    autos = place.autos
    place.store.rule = lambda method, path, _: (
        No(403, "AccessDenied", "No.") if method == "PUT" and "/processos/" in path else None
    )
    job = start(autos, autos.portal.add_case(documents=DOCUMENTS)).job

    # Then the job and health report it
    held = await_job(autos, job.job_id, _is_held)
    assert held.hold.reason == "STORE_REFUSED"
    assert "AccessDenied" in held.hold.message
    until(lambda: not _serves(autos, "autos.bucket"), DEADLINE_S, "Health does not report it.")
    assert 1 <= len(_lines(autos, "AccessDenied")) <= 4, "once a process"

    # When it is repaired, the job continues without intervention
    place.store.rule = lambda *_: None
    _assert_ends_after_one_attempt(autos, job)
    until(lambda: _serves(autos, "autos.bucket"), DEADLINE_S, "Health stays wrong.")
