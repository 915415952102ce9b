"""The metrics page of the real server process."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import psycopg2
from prometheus_client.parser import text_string_to_metric_families

from dev.deadline import until
from dev.sandbox import ROOT
from dev.servers import Servers
from tests.acceptance.conftest import free_port, running_autos
from tests.acceptance.jobs import run, start
from tests.sandbox.login import CLIENT_ID, CLIENT_SECRET, SandboxLogin
from tests.sandbox.portal import SandboxPortal
from tests.sandbox.receiver import WebhookReceiver

KEY = base64.urlsafe_b64encode(b"planted-encryption-key-012345678").decode()


def _page(address: str) -> str:
    with urlopen(f"http://{address}/metrics", timeout=60) as answer:
        text: str = answer.read().decode()
    return text


def _told(address: str) -> dict[str, float]:
    """Name and labels of every sample, with its value."""
    return {
        f"{sample.name}{''.join(sample.labels.values())}": sample.value
        for family in text_string_to_metric_families(_page(address))
        for sample in family.samples
    }


def test_a_refused_login_is_told_by_the_metrics_page_without_secrets_or_cases(
    servers: Servers, receiver: WebhookReceiver, second_port: int, tmp_path: Path
) -> None:
    folder = tmp_path / "metrics"
    folder.mkdir()
    address = f"127.0.0.1:{free_port()}"
    redis_url = urlsplit(servers.env["REDIS_URL"])._replace(path="/4").geturl()
    with SandboxLogin() as login, SandboxPortal() as portal:
        portal.accepts = login.accepts
        with running_autos(
            servers,
            portal,
            receiver,
            second_port,
            folder,
            REDIS_URL=redis_url,
            PDPJ_TOKEN="",
            PDPJ_TOKEN_URL=login.url,
            PDPJ_CLIENT_ID=CLIENT_ID,
            PDPJ_CLIENT_SECRET=CLIENT_SECRET,
            AUTOS_ENCRYPTION_KEY=KEY,
            METRICS_LISTEN=address,
        ) as autos:
            numbers = [portal.add_case(documents=1) for _ in range(2)]
            run(autos, numbers[0])
            until(lambda: _told(address)["autos_database_up"] == 1, 60, "PostgreSQL is not seen")
            assert _told(address)["autos_portal_login_refused"] == 0

            login.fail("invalid_grant")
            login.expire()
            with (
                closing(psycopg2.connect(autos.stack.env["DATABASE_URL"])) as connection,
                connection,
                connection.cursor() as cursor,
            ):
                # The pause between two logins is over.
                cursor.execute("UPDATE logins SET next_login_time = NULL")
            start(autos, numbers[1])

            until(
                lambda: _told(address).get("autos_portal_login_refused") == 1,
                60,
                "the metrics page does not tell of it",
            )
            until(lambda: _told(address).get("autos_jobs_waiting") == 1, 60, "nobody waits")
            page = _page(address)
            planted = (*numbers, CLIENT_SECRET, CLIENT_ID, KEY, "access-")
            assert [each for each in planted if each in page] == []

            # A second server on the same port says so in one sentence.
            second = subprocess.run(
                [sys.executable, "-m", "server"],
                cwd=ROOT,
                env={**os.environ, **autos.stack.env, "GRPC_LISTEN": "127.0.0.1:0"},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert second.returncode == 1
            assert second.stderr == (
                f"autos server: METRICS_LISTEN: {address} cannot be listened on; "
                "stop what uses it or set METRICS_LISTEN to another address.\n"
            )
