"""Test that a portal with an untrusted certificate gets no request, and no attempt counts."""

from __future__ import annotations

import contextlib
import io
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from actors.login.portal_login import LoginClient, LoginUnavailable
from actors.portal.portal_client import Portal
from actors.resilience.exchange_deadline import Watchdog
from storage import refusals
from storage.errors import ConfigurationError, PortalUntrusted, TransientError
from storage.health.holds import Holds
from storage.login.login_values import Login
from storage.portal.slots import Limits
from storage.postgres.database import Database
from storage.refusals import PORTAL, RefusalWatch
from storage.settings import Settings
from tests.integration.harness import factories
from tests.network.byte_server import ByteServer, Exchange, answer
from tests.network.certificates import Certificate
from tests.sandbox.keycloak.static_token import SandboxToken
from tests.unit.storage.test_settings import NEEDED

CASE = "1011745-77.2025.8.11.0041"
HREF = f"/processos/{CASE}/documentos/00000000-0000-4000-8000-000000000000/binario"
FILE = b"%PDF-1.4\n" + b"x" * 100 + b"\n%%EOF\n"
WATCHDOG = Watchdog()
LIMITS, LOGIN = Limits(10, 6, 5), Login("any", "any")
Serve = Callable[[Certificate], contextlib.AbstractContextManager[ByteServer]]


@dataclass(frozen=True)
class Expected:
    listed_size_bytes: int | None = len(FILE)
    listed_content_type: str | None = "application/pdf"
    name: str = "a.pdf"


@pytest.fixture(scope="module")
def authority() -> Certificate:
    """Return the authority that PDPJ_CA_FILE names."""
    return Certificate.authority()


@pytest.fixture
def ca_file(authority: Certificate, tmp_path: Path) -> Path:
    """Return the path for PDPJ_CA_FILE."""
    file = tmp_path / "ca.pem"
    file.write_bytes(authority.pem)
    return file


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Yield a function that starts a portal with a certificate."""

    @contextlib.contextmanager
    def serve(shown: Certificate) -> Iterator[ByteServer]:
        (tmp_path / "cert.pem").write_bytes(shown.pem)
        (tmp_path / "key.pem").write_bytes(shown.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
        with ByteServer(_script, tls=context) as server:
            yield server

    return serve


def _script(exchange: Exchange) -> None:
    exchange.send(answer(FILE, "Content-Type: application/pdf"))


@contextlib.contextmanager
def _portal(url: str, ca_file: Path | None, database: Database | None = None) -> Iterator[Portal]:
    portal = Portal(
        base_url=url,
        tokens=SandboxToken("secret-token"),
        watchdog=WATCHDOG,
        document_max_bytes=1_000_000,
        ca_file=ca_file,
        watch=RefusalWatch(PORTAL, database),
    )
    yield portal
    portal.close()


def _fetch(portal: Portal) -> bytes:
    sink = io.BytesIO()
    portal.fetch(CASE, HREF, sink.write, expected=Expected(), limit_s=30)
    return sink.getvalue()


def test_a_certificate_of_the_named_authority_is_trusted(
    serve: Serve, authority: Certificate, ca_file: Path
) -> None:
    with serve(authority.for_loopback()) as server, _portal(server.url, ca_file) as portal:
        assert _fetch(portal) == FILE


@pytest.mark.parametrize("names_authority", [True, False])
def test_any_other_is_rejected_without_a_request_and_logged_once(
    serve: Serve, ca_file: Path, *, names_authority: bool
) -> None:
    with serve(Certificate.authority().for_loopback()) as server, capture_logs() as lines:
        with _portal(server.url, ca_file if names_authority else None) as portal:
            for _ in range(3):
                with pytest.raises(PortalUntrusted):
                    _fetch(portal)
        assert server.requests == []

    assert [(line["event"], line["code"]) for line in lines] == [
        ("part refuses", "CERTIFICATE_NOT_TRUSTED")
    ]
    assert "certificate" in lines[0]["answer"]


def test_a_portal_without_tls_behind_https_is_away(ca_file: Path) -> None:
    with ByteServer(_script) as server:
        url = server.url.replace("http:", "https:")
        with _portal(url, ca_file) as portal, pytest.raises(TransientError):
            _fetch(portal)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("asks", ["portal", "login"])
def test_what_fails_in_tls_is_logged_once_with_its_code(
    asks: str, version: ssl.TLSVersion, authority: Certificate, ca_file: Path, tmp_path: Path
) -> None:
    # Given a server that requires a client certificate
    server_side = authority.for_loopback()
    (tmp_path / "pair.pem").write_bytes(server_side.key_pem + server_side.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair.pem")
    context.load_verify_locations(ca_file)
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = context.maximum_version = version

    with ByteServer(_script, tls=context) as server, capture_logs() as lines:
        login = _login(server, ca_file)
        with _portal(server.url, ca_file) as portal:
            for _ in range(3):
                if asks == "login":
                    with pytest.raises(LoginUnavailable):
                        login.log_in(None)
                else:
                    with pytest.raises(TransientError):
                        _fetch(portal)

    [line] = lines
    assert line["event"] == "part is unavailable"
    assert "ALERT" in line["code"]
    assert "alert" in line["answer"]


def _login(server: ByteServer, ca_file: Path) -> LoginClient:
    return LoginClient(
        token_url=f"{server.url}/token",
        client_id="any",
        client_secret="any",
        watchdog=WATCHDOG,
        ca_file=ca_file,
    )


def test_jobs_are_held_politely_and_go_on_once_the_certificate_is_trusted(
    database: Database, serve: Serve, authority: Certificate, ca_file: Path
) -> None:
    job_id = factories.listed_job(database, 1)
    with (
        serve(Certificate.authority().for_loopback()) as server,
        _portal(server.url, ca_file, database) as portal,
        pytest.raises(PortalUntrusted),
    ):
        _fetch(portal)

    hold = Holds(database, LOGIN).of({job_id: "8.26"}).get(job_id)
    assert hold is not None
    assert hold.reason == "PORTAL_UNTRUSTED"
    assert hold.until_time is not None
    assert _pause_s(database) > 0, "nothing is asked meanwhile"
    assert len(refusals.troubles(database, PORTAL)) == 1

    # When the pause is over and the portal shows another certificate
    factories.execute(database, "UPDATE portal SET paused_until = '-infinity'")
    with (
        serve(authority.for_loopback()) as server,
        _portal(server.url, ca_file, database) as portal,
    ):
        assert _fetch(portal) == FILE

    assert Holds(database, LOGIN).of({job_id: "8.26"}).get(job_id) is None
    assert refusals.troubles(database, PORTAL) == []


def test_the_longer_it_lasts_the_longer_the_pause(database: Database) -> None:
    error = PortalUntrusted("self-signed")
    refusals.publish(database, PORTAL, "TLS", error)
    assert 0 < _pause_s(database) <= refusals.PAUSE_MIN_S

    factories.execute(
        database, "UPDATE service_refusals SET since_time = since_time - interval '1 hour'"
    )
    refusals.publish(database, PORTAL, "TLS", error)
    assert refusals.PAUSE_MIN_S < _pause_s(database) <= refusals.PAUSE_MAX_S


def _pause_s(database: Database) -> float:
    with database.autocommit() as transaction:
        row = transaction.only(
            "SELECT extract(epoch FROM paused_until - clock_timestamp()) AS s FROM portal"
        )
    return float(row["s"])


@pytest.mark.parametrize("is_trusted", [True, False])
def test_the_login_is_trusted_by_the_same_authorities(
    database: Database, serve: Serve, authority: Certificate, ca_file: Path, *, is_trusted: bool
) -> None:
    signer = authority if is_trusted else Certificate.authority()
    with serve(signer.for_loopback()) as server, pytest.raises(LoginUnavailable) as failed:
        LoginClient(
            token_url=f"{server.url}/token",
            client_id="any",
            client_secret="any",
            watchdog=WATCHDOG,
            ca_file=ca_file,
            watch=RefusalWatch(PORTAL, database),
        ).log_in(None)

    assert failed.value.__context__ is None, "the form, and with it the secret, is in its cause"
    # The file is no token, but it was an answer.
    assert failed.value.why == (
        "answer 200 without a token" if is_trusted else "the certificate is not trusted"
    )
    assert len(refusals.troubles(database, PORTAL)) == (0 if is_trusted else 1)


def test_a_ca_file_that_holds_no_certificate_is_named_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    with pytest.raises(ConfigurationError, match="PDPJ_CA_FILE must be a file of PEM"):
        Settings.from_env({**NEEDED, "PDPJ_CA_FILE": str(file)})
