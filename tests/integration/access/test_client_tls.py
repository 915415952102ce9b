"""Test the client over TLS, with tokens, and with a server that sets limits."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import logging
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from autos import (
    AsyncClient,
    AutosError,
    Client,
    Connection,
    LimitReached,
    NotAllowed,
    Unavailable,
    pb,
)
from autos.cli.main import main
from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc

TOKEN = "planted-client-token-0123456789"
JOB = pb.Job(job_id="3c4e47ff-d6e0-4ccd-8686-fe6a87b0b785", state=pb.JOB_STATE_COMPLETED)
DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Papers:
    """A certificate, its key and its authority's certificate: PEM files."""

    certificate: Path
    key: Path
    ca: Path

    def read(self) -> tuple[bytes, bytes, bytes]:
        return self.key.read_bytes(), self.certificate.read_bytes(), self.ca.read_bytes()


class Authority:
    """A certificate authority that signs certificates for this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, folder.name)])
        self._write("ca", self._sign(self._name, self._key, is_ca=True), self._key)

    def papers(self, name: str) -> Papers:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._write(name, self._sign(subject, key, is_ca=False), key)
        folder = self._folder
        return Papers(folder / f"{name}.pem", folder / f"{name}.key", folder / "ca.pem")

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, is_ca: bool
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([loopback]), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _write(self, name: str, signed: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        pem = serialization.Encoding.PEM
        (self._folder / f"{name}.pem").write_bytes(signed.public_bytes(pem))
        private = key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (self._folder / f"{name}.key").write_bytes(private)


class Porter(pb_grpc.DownloadServiceServicer):
    """Accepts calls with the right token; refuses as many calls as a test sets."""

    def __init__(self) -> None:
        self.starts: list[pb.StartDownloadRequest] = []
        self.refusals: list[Any] = []

    def _admit(self, context: grpc.ServicerContext) -> None:
        given = dict(context.invocation_metadata()).get("authorization")
        if given is None:
            context.abort_with_status(_status(code_pb2.UNAUTHENTICATED, "NO_TOKEN"))
        if given != f"Bearer {TOKEN}":
            context.abort_with_status(_status(code_pb2.UNAUTHENTICATED, "UNKNOWN_TOKEN"))
        if self.refusals:
            context.abort_with_status(self.refusals.pop())

    def StartDownload(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self.starts.append(request)
        self._admit(context)
        return pb.StartDownloadResponse(job=JOB, created=True)

    def GetStatus(self, _: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._admit(context)
        return pb.GetStatusResponse(job=JOB)

    def WatchProgress(self, _: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self._admit(context)
        for _ in range(2):
            yield pb.WatchProgressResponse(revision=0, job=JOB)


def _status(code: int, reason: str, retry_delay_s: float | None = None) -> Any:
    details: list[Any] = [error_details_pb2.ErrorInfo(reason=reason, domain="autos")]
    if retry_delay_s is not None:
        details.append(error_details_pb2.RetryInfo())
        details[-1].retry_delay.FromMilliseconds(int(1000 * retry_delay_s))
    packed = []
    for detail in details:
        packed.append(AnyMessage())
        packed[-1].Pack(detail)
    status = status_pb2.Status(code=code, message=f"So it is: {reason}.", details=packed)
    return rpc_status.to_status(status)


@contextmanager
def _serving(porter: Porter, credentials: grpc.ServerCredentials | None) -> Iterator[int]:
    server = grpc.server(ThreadPoolExecutor(4))
    pb_grpc.add_DownloadServiceServicer_to_server(porter, server)
    healthy = health.HealthServicer()
    healthy.set("autos.portal", health_pb2.HealthCheckResponse.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()


@pytest.fixture
def porter() -> Porter:
    return Porter()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("papers") / "ours")


@pytest.fixture(scope="module")
def papers(authority: Authority) -> Papers:
    return authority.papers("server")


@pytest.fixture
def port(porter: Porter, papers: Papers) -> Iterator[int]:
    """Return the port of a server with TLS."""
    key, certificate, _ = papers.read()
    with _serving(porter, grpc.ssl_server_credentials([(key, certificate)])) as port:
        yield port


@pytest.fixture
def plain_port(porter: Porter) -> Iterator[int]:
    """Return the port of a server without TLS."""
    with _serving(porter, None) as port:
        yield port


def _all_of(connection: Connection) -> list[pb.Job]:
    """Return the results of a call and a watch, from the blocking and the asyncio client."""

    async def in_loop() -> list[pb.Job]:
        async with AsyncClient(connection) as client:
            watched = [message.job async for message in client.watch(JOB.job_id)]
            return [await client.status(JOB.job_id), *watched]

    with Client(connection) as client:
        watched = [message.job for message in client.watch(JOB.job_id)]
        return [client.status(JOB.job_id), *watched, *asyncio.run(in_loop())]


def test_a_token_goes_over_tls(port: int, papers: Papers) -> None:
    connection = Connection(f"127.0.0.1:{port}", TOKEN, ca_file=papers.ca)

    assert _all_of(connection) == [JOB] * 4


def test_a_token_goes_over_loopback_without_tls(plain_port: int) -> None:
    assert _all_of(Connection(f"127.0.0.1:{plain_port}", TOKEN)) == [JOB] * 4


def test_mutual_tls_shows_our_certificate(
    porter: Porter, authority: Authority, papers: Papers
) -> None:
    key, certificate, ca = papers.read()
    credentials = grpc.ssl_server_credentials([(key, certificate)], ca, require_client_auth=True)
    ours = authority.papers("client")

    with _serving(porter, credentials) as port:
        address = f"127.0.0.1:{port}"
        jobs = _all_of(Connection(address, TOKEN, papers.ca, ours.certificate, ours.key))
        _assert_unavailable(Connection(address, TOKEN, papers.ca))

    assert jobs == [JOB] * 4


def test_a_server_that_cannot_prove_its_identity_gets_no_token(
    port: int, porter: Porter, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "stranger").papers("server")
    connection = Connection(f"127.0.0.1:{port}", TOKEN, ca_file=stranger.ca)

    _assert_unavailable(connection, "Neither the CA file nor the system trusts its certificate")
    assert porter.starts == []


def test_tls_on_one_side_only_is_reported(plain_port: int, port: int, papers: Papers) -> None:
    _assert_unavailable(Connection(f"127.0.0.1:{plain_port}", ca_file=papers.ca), "TLS")
    _assert_unavailable(Connection(f"127.0.0.1:{port}"), "TLS")


def _assert_unavailable(connection: Connection, reason: str = "") -> None:
    """Assert that a call fails with this reason, which a busy machine finds out late."""
    for timeout_s in (0.5, 4.0, 32.0):
        with Client(connection, timeout_s=timeout_s) as client, pytest.raises(AutosError) as caught:
            client.start("1")
        if isinstance(caught.value, Unavailable) and reason in str(caught.value):
            return
    raise caught.value


@pytest.mark.parametrize(("token", "reason"), [("", "NO_TOKEN"), ("other", "UNKNOWN_TOKEN")])
def test_a_call_without_permission_fails_at_once(
    plain_port: int, token: str, reason: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    address = f"127.0.0.1:{plain_port}"
    with Client(Connection(address, token)) as client, pytest.raises(NotAllowed) as caught:
        client.status(JOB.job_id)
    words = ["status", JOB.job_id, "--address", address]
    if token:
        (tmp_path / "token").write_text(f"{token}\n")
        words += ["--token-file", str(tmp_path / "token")]

    assert main(words) == 77
    assert caught.value.reason == reason
    assert capsys.readouterr().err == (
        f"autos: So it is: {reason}. Give a token by AUTOS_TOKEN or --token-file.\n"
    )


def test_the_pause_of_a_limit_is_kept_and_the_request_stays_the_same(
    plain_port: int, porter: Porter
) -> None:
    porter.refusals = [_status(code_pb2.RESOURCE_EXHAUSTED, "TOO_MANY_STARTS", 0.2)]
    pauses: list[tuple[str, float]] = []

    with Client(
        Connection(f"127.0.0.1:{plain_port}", TOKEN),
        on_pause=lambda error, pause_s: pauses.append((error.reason, pause_s)),
    ) as client:
        started = client.start("1")

    assert started.created
    assert pauses == [("TOO_MANY_STARTS", 0.2)]
    first, second = porter.starts
    assert first == second
    assert first.request_id


def test_a_limit_that_outlasts_the_call_is_raised_with_its_reason(
    plain_port: int, porter: Porter
) -> None:
    """gRPC's own retries would end with DEADLINE_EXCEEDED instead."""
    porter.refusals = [_status(code_pb2.RESOURCE_EXHAUSTED, "TOO_MANY_JOBS", 60)]

    with (
        Client(Connection(f"127.0.0.1:{plain_port}", TOKEN), timeout_s=1) as client,
        pytest.raises(LimitReached) as caught,
    ):
        client.start("1")

    assert (caught.value.reason, caught.value.retry_delay_s) == ("TOO_MANY_JOBS", 60)


def test_a_watch_waits_until_it_may(plain_port: int, porter: Porter) -> None:
    porter.refusals = [_status(code_pb2.RESOURCE_EXHAUSTED, "TOO_MANY_WATCHES", 0.1)]

    with Client(Connection(f"127.0.0.1:{plain_port}", TOKEN)) as client:
        assert [message.job for message in client.watch(JOB.job_id)] == [JOB]


def test_the_token_is_in_no_error_and_no_log(
    plain_port: int, porter: Porter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    porter.refusals = [_status(code_pb2.INTERNAL, "INTERNAL")]
    texts: list[str] = []

    for address in (f"127.0.0.1:{plain_port}", "127.0.0.1:1"):
        with Client(Connection(address, TOKEN), timeout_s=0.2) as client:
            try:
                client.status(JOB.job_id)
            except AutosError as error:
                texts += [repr(error), *_chain(error)]

    assert len(texts) >= 4
    assert TOKEN not in "".join(texts) + caplog.text


def _chain(error: BaseException) -> Sequence[str]:
    return traceback.format_exception(error)


def test_health_is_checked_through_tls_without_a_token(
    port: int, papers: Papers, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--address", f"127.0.0.1:{port}", "--ca-file", str(papers.ca)]

    assert main(["health", *words]) == 0
    assert main(["health", "autos.portal", "--json", *words]) == 69
    assert capsys.readouterr().out == (
        'SERVING\n{"service": "autos.portal", "status": "NOT_SERVING"}\n'
    )
    assert main(["health", "autos.nothing", *words]) == 66
    assert main(["health", "--address", f"127.0.0.1:{port}"]) == 69
    assert f"127.0.0.1:{port} does not answer" in capsys.readouterr().err
