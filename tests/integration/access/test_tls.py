"""Test TLS with files renewed at run time, and clients identified by certificates."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from structlog.testing import capture_logs

from autos.downloads.v1 import downloads_pb2 as pb
from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from dev.stack import is_serving
from server.access.server_tls import TlsFiles
from server.dependencies import ServerDependencies
from storage.errors import ConfigurationError
from storage.objects.object_store import Objects
from storage.postgres.database import Database
from tests.descriptors import no_free_descriptor
from tests.integration.harness.grpc_server import (
    TIMEOUT_S,
    entry,
    running_server,
    service_parts,
    write_clients,
)
from tests.network.certificates import Certificate
from tests.system.refused_calls import refusal_of

AUTHORITY = Certificate.authority()
NUMBER = "1003579-22.2025.8.26.0564"


@pytest.fixture
def parts(database: Database, objects: Objects, redis_url: str) -> Iterator[ServerDependencies]:
    """Return a service on the test's database."""
    with service_parts(database, objects, redis_url) as parts:
        yield parts


def _write(folder: Path, server: Certificate) -> tuple[Path, Path, Path]:
    """Write the files of a server one by one, as a renewal tool does."""
    files = folder / "cert.pem", folder / "key.pem", folder / "ca.pem"
    for file, content in zip(files, (server.pem, server.key_pem, AUTHORITY.pem), strict=True):
        file.write_bytes(content)
    return files


def _channel(address: str, known_as: Certificate | None = None) -> grpc.aio.Channel:
    mine = (known_as.key_pem, known_as.pem) if known_as else (None, None)
    credentials = grpc.ssl_channel_credentials(AUTHORITY.pem, *mine)
    # Each channel has its own connection, so each makes a TLS handshake.
    return grpc.aio.secure_channel(
        address, credentials, options=[("grpc.use_local_subchannel_pool", 1)]
    )


def _shown(address: str) -> bytes:
    """Return the certificate that the server shows to a new connection."""
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=30) as connection,
        anybody.wrap_socket(connection) as wrapped,
    ):
        return wrapped.getpeercert(binary_form=True) or b""


def test_a_renewed_certificate_is_used_for_new_connections_only(
    parts: ServerDependencies, tmp_path: Path
) -> None:
    first, second, third = (AUTHORITY.for_loopback() for _ in range(3))
    cert, key, _ = _write(tmp_path, first)

    async def scenario() -> None:
        credentials = TlsFiles(cert, key, None).credentials()
        async with (
            running_server(parts, credentials=credentials) as running,
            _channel(running.address) as c,
        ):
            api: Any = pb_grpc.DownloadServiceStub(c)
            assert await asyncio.to_thread(is_serving, running.address, is_tls=True)
            request = pb.StartDownloadRequest(process_number=NUMBER)
            job_id = (await api.StartDownload(request, timeout=TIMEOUT_S)).job.job_id
            watching = api.WatchProgress(pb.WatchProgressRequest(job_id=job_id), timeout=60)
            assert (await watching.read()).HasField("job")
            assert await asyncio.to_thread(_shown, running.address) == first.der

            # One file of the two is new, the other is still old.
            cert.write_bytes(second.pem)
            assert await asyncio.to_thread(_shown, running.address) == first.der
            key.write_bytes(second.key_pem)
            assert await asyncio.to_thread(_shown, running.address) == second.der
            # The files are missing, then broken, then valid again.
            key.unlink()
            assert await asyncio.to_thread(_shown, running.address) == second.der
            key.write_bytes(b"no key")
            assert await asyncio.to_thread(_shown, running.address) == second.der
            _write(tmp_path, third)
            assert await asyncio.to_thread(_shown, running.address) == third.der
            async with _channel(running.address) as fresh:
                assert (
                    await pb_grpc.DownloadServiceStub(fresh).ListJobs(
                        pb.ListJobsRequest(), timeout=TIMEOUT_S
                    )
                ).jobs

            # A connection that existed before still works.
            await api.CancelJob(pb.CancelJobRequest(job_id=job_id), timeout=TIMEOUT_S)
            while (message := await watching.read()) is not grpc.aio.EOF:
                end = message
            assert end.job.state == pb.JOB_STATE_CANCELLED

    asyncio.run(scenario())


def test_a_caller_is_known_by_a_name_in_its_certificate(
    parts: ServerDependencies, tmp_path: Path
) -> None:
    cert, key, ca = _write(tmp_path, AUTHORITY.for_loopback())
    file = write_clients(
        tmp_path / "clients.json",
        entry(
            "billing",
            certificates=["billing.internal", "spiffe://house/billing", "billing@house.example"],
        ),
        entry("archive", "archives-token", certificates=["archive"]),
    )
    uri = x509.UniformResourceIdentifier("spiffe://house/billing")
    callers = {
        "billing": [
            AUTHORITY.signs("any", x509.DNSName("billing.internal")),
            AUTHORITY.signs("archive", uri, x509.DNSName("unknown")),
            AUTHORITY.signs("any", x509.RFC822Name("billing@house.example")),
        ],
        "archive": [AUTHORITY.signs("archive")],
    }
    unknown = [
        AUTHORITY.signs("stranger"),
        AUTHORITY.signs("any", x509.DNSName("billing.internal.evil")),
        # A subject alternative name replaces the common name, as everywhere in TLS.
        AUTHORITY.signs("archive", x509.DNSName("unknown")),
        AUTHORITY.signs("any", uri, x509.DNSName("archive")),
        # An authority that checks DNS names may sign any URI or e-mail address.
        AUTHORITY.signs("any", x509.UniformResourceIdentifier("billing.internal")),
        AUTHORITY.signs("any", x509.RFC822Name("billing.internal")),
        AUTHORITY.signs("any", x509.DNSName("spiffe://house/billing")),
        AUTHORITY.signs("archive", x509.RFC822Name("archive")),
    ]

    async def scenario() -> None:
        credentials = TlsFiles(cert, key, ca).credentials()
        async with running_server(parts, file, credentials=credentials) as running:
            for name, certificates in callers.items():
                ids = [await _start(running.address, mine) for mine in certificates]
                assert len(set(ids)) == 1, name
            for mine in unknown:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await _start(running.address, mine)
                assert refusal_of(caught.value).reason == "NO_TOKEN"
            # A token takes precedence over the certificate, and a wrong token is refused.
            [archive] = callers["archive"]
            by_token = await _start(running.address, unknown[0], "archives-token")
            assert by_token == await _start(running.address, archive)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await _start(running.address, archive, "wrong")
            assert refusal_of(caught.value).reason == "UNKNOWN_TOKEN"
            # Without a certificate of the authority the server refuses the connection.
            for foreign in (None, Certificate.authority().signs("archive")):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await _start(running.address, foreign, "archives-token")
                assert caught.value.code() == grpc.StatusCode.UNAVAILABLE

    asyncio.run(scenario())


async def _start(address: str, known_as: Certificate | None, token: str | None = None) -> str:
    """Start a case and return the id of its job."""
    metadata = [("authorization", f"Bearer {token}")] if token else []
    async with _channel(address, known_as) as channel:
        answer = await pb_grpc.DownloadServiceStub(channel).StartDownload(
            pb.StartDownloadRequest(process_number=NUMBER), timeout=TIMEOUT_S, metadata=metadata
        )
        return str(answer.job.job_id)


def test_files_that_could_not_be_read_are_read_again_although_they_did_not_change(
    tmp_path: Path,
) -> None:
    cert, key, _ = _write(tmp_path, AUTHORITY.for_loopback())
    files = TlsFiles(cert, key, None)
    _write(tmp_path, AUTHORITY.for_loopback())
    with capture_logs() as lines, no_free_descriptor():
        assert [files._renewed() for _ in range(3)] == [None] * 3
        assert "cannot be read" in files.problem
    assert len(lines) == 1

    assert files._renewed()
    assert files.problem == ""


def test_unusable_files_are_reported_in_one_sentence_at_the_start(tmp_path: Path) -> None:
    server = AUTHORITY.for_loopback()
    cert, key, ca = _write(tmp_path, server)
    other, empty = tmp_path / "other.pem", tmp_path / "empty.pem"
    other.write_bytes(AUTHORITY.for_loopback().key_pem)
    empty.write_bytes(b"")
    missing = tmp_path / "missing.pem"
    wrong: dict[str, tuple[Path, Path, Path | None]] = {
        f"GRPC_TLS_CERT_FILE: {missing} cannot be read: No such file or directory.": (
            *(missing, key),
            None,
        ),
        "GRPC_TLS_CERT_FILE holds no PEM certificate.": (empty, key, None),
        "GRPC_TLS_KEY_FILE holds no PEM key without password.": (cert, cert, None),
        "GRPC_TLS_KEY_FILE is not the key of GRPC_TLS_CERT_FILE.": (cert, other, ca),
        "GRPC_TLS_CLIENT_CA_FILE holds no PEM certificate.": (cert, key, empty),
    }
    for sentence, files in wrong.items():
        with pytest.raises(ConfigurationError) as caught:
            TlsFiles(*files)
        assert str(caught.value) == sentence
