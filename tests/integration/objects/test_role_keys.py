"""Test the keys of a role: of a container, of a web identity, fetched again before they expire.

The suite's store knows no session tokens. The platform that gives the keys takes the files, too.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from storage.errors import ServiceUnavailable
from storage.objects.object_store import Objects
from storage.objects.store_address import ObjectStore, RoleKeys
from storage.objects.uploads import Upload

TOKEN, IDENTITY = "planted-session-token", "planted-identity"
STS = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{key}</AccessKeyId>
<SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{token}</SessionToken>
<Expiration>{end}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""


@dataclass
class _Platform:
    """Gives keys to roles, in both forms. `lifetime`: of the keys."""

    store: ObjectStore
    url: str = ""
    lifetime: timedelta = timedelta(hours=1)
    status: int = 200
    requests: list[dict[str, list[str]]] = field(default_factory=list)
    puts: list[tuple[str, str]] = field(default_factory=list)

    def answer(self, path: str, body: str) -> str:
        self.requests.append(parse_qs(urlsplit(path).query) | parse_qs(body))
        end = (datetime.now(UTC) + self.lifetime).strftime("%Y-%m-%dT%H:%M:%SZ")
        key, secret = self.store.access_key_id, self.store.secret_access_key
        if not path.startswith("/container"):
            return STS.format(key=key, secret=secret, token=TOKEN, end=end)
        keys = {"AccessKeyId": key, "SecretAccessKey": secret, "Token": TOKEN, "Expiration": end}
        return json.dumps(keys)


@contextmanager
def _running(platform: _Platform) -> Iterator[_Platform]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            data = platform.answer(self.path, self.rfile.read(length).decode()).encode()
            self.send_response(platform.status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_POST(self) -> None:
            self.do_GET()

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            token = self.headers.get("X-Amz-Security-Token", "")
            platform.puts.append((token, self.headers["Authorization"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        platform.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield platform
        server.shutdown()


@pytest.fixture
def platform(store: ObjectStore) -> Iterator[_Platform]:
    """Yield a platform whose role has the keys of the suite's store."""
    with _running(_Platform(store)) as running:
        yield running


def _of_role(platform: _Platform, keys: RoleKeys) -> Objects:
    store = replace(platform.store, access_key_id="", secret_access_key="", keys=keys)
    store = replace(store, endpoint_url=platform.url, public_url=platform.url)
    return Objects(store, max_connections=1)


def _upload() -> Upload:
    digest = hashlib.sha256(b"x").hexdigest()
    return Upload(b"x", f"roles/{uuid4()}", 1, digest, "text/plain", "x.txt")


@pytest.fixture
def container(platform: _Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the variables of a container's role."""
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{platform.url}/container")


def test_a_container_signs_with_the_keys_and_the_token_of_its_role(
    platform: _Platform, container: None
) -> None:
    bucket = _of_role(platform, RoleKeys(None))

    bucket.put(_upload())
    url, _ = bucket.url("roles/any", lifetime_s=60)

    [(token, authorization)] = platform.puts
    assert token == TOKEN
    assert "x-amz-security-token" in authorization.partition("SignedHeaders=")[2]
    assert f"Credential={platform.store.access_key_id}/" in authorization
    assert parse_qs(urlsplit(url).query)["X-Amz-Security-Token"] == [TOKEN]
    assert len(platform.requests) == 1


def test_a_web_identity_is_exchanged_for_keys_and_again_before_they_expire(
    platform: _Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(IDENTITY)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/autos")
    bucket = _of_role(platform, RoleKeys(platform.url))

    # Keys count as expired seconds before their end.
    platform.lifetime = timedelta(seconds=1)
    bucket.put(_upload())
    platform.lifetime = timedelta(hours=1)
    for _ in range(3):
        bucket.put(_upload())

    assert [token for token, _ in platform.puts] == [TOKEN] * 4
    assert len(platform.requests) == 2
    assert platform.requests[0]["WebIdentityToken"] == [IDENTITY]
    assert platform.requests[0]["RoleArn"] == ["arn:aws:iam::1:role/autos"]


def test_a_role_without_keys_is_an_outage_that_shows_no_secret(
    platform: _Platform, container: None
) -> None:
    platform.status = 403
    bucket = _of_role(platform, RoleKeys(None))

    with capture_logs() as lines:
        for _ in range(2):
            with pytest.raises(ServiceUnavailable):
                bucket.put(_upload())

    assert [(line["event"], line["code"]) for line in lines] == [
        ("part is unavailable", "NO_KEYS_OF_ROLE")
    ]
    assert platform.store.secret_access_key not in str(lines)
