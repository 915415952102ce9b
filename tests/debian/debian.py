"""Test Autos on Debian's servers. pytest collects this file only by its name: `make test-debian`.

Nothing here is skipped: without the servers every test fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import grpc
import pytest

from actors.messaging.enqueuer import make_broker
from autos.downloads.v1 import downloads_pb2 as pb
from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from dev.embedded.embedded_servers import EMBEDDED, EmbeddedServers, Kinds, start_all
from dev.folder import DataFolder
from dev.stack import running_stack
from storage import valkey
from storage.errors import ConfigurationError
from storage.health import start_check
from storage.settings import Settings
from storage.valkey import connected
from tests.conftest import PORTAL_TOKEN, WEBHOOK_SECRET
from tests.debian.debian_servers import debian_postgres, debian_redis, debian_sentinel
from tests.sandbox.portal import SandboxPortal

DEBIAN: Kinds = {
    "postgres": ("DATABASE_URL", debian_postgres),
    "redis": ("REDIS_URL", debian_redis),
    "s3": EMBEDDED["s3"],
}
DOCUMENTS = 20
FORMS = ("REDIS_URL", "REDIS_SOCKET_URL", "REDIS_TLS_URL", "REDIS_SENTINEL_URL")


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Yield the settings of Debian's servers."""
    folder = DataFolder(tmp_path_factory.mktemp("debian"))
    running = start_all(folder, {}, lambda line: print(line), DEBIAN)
    watcher = _sentinel(DataFolder(tmp_path_factory.mktemp("sentinel")), running)
    yield {**running.env, **watcher.env}
    watcher.stop()
    running.stop()
    folder.close()


def _sentinel(folder: DataFolder, running: EmbeddedServers) -> EmbeddedServers:
    port, password = running.env["REDIS_PORT"], running.env["REDIS_PASSWORD"]
    kinds: Kinds = {"sentinel": ("-", lambda folder: debian_sentinel(folder, port, password))}
    return start_all(folder, {}, lambda line: print(line), kinds)


def _settings(debian: dict[str, str], **other: str) -> Settings:
    secrets = {"PDPJ_TOKEN": PORTAL_TOKEN, "WEBHOOK_SECRET": WEBHOOK_SECRET}
    return Settings.from_env({**debian, **secrets, **other})


@pytest.mark.parametrize("form", FORMS)
def test_redis_is_reached_by_every_form_of_its_url(debian: dict[str, str], form: str) -> None:
    url = _settings(debian, REDIS_URL=debian[form]).redis_url

    valkey.check_commands(url, limit_s=10)

    broker = make_broker(url, timeout_s=10)
    broker.declare_queue("test")
    assert next(broker.consume("test")) is None
    broker.client.close()

    async def subscribed() -> str:
        async with connected(url) as client, client.pubsub() as subscription:
            await subscription.subscribe("autos:changes")
            message = await subscription.get_message(timeout=10)
        return str(message and message["type"])

    assert asyncio.run(subscribed()) == "subscribe"


def test_a_wrong_password_of_the_database_has_its_code(debian: dict[str, str]) -> None:
    url = debian["DATABASE_URL"].replace("autos:", "autos:planted-wrong-")
    with pytest.raises(ConfigurationError) as found:
        start_check.check(_settings(debian, DATABASE_URL=url), "worker")
    assert str(found.value).startswith("DATABASE_URL: PostgreSQL refuses session: 28P01 (")
    assert "planted" not in str(found.value)


@pytest.mark.parametrize("form", ["REDIS_URL", "REDIS_SENTINEL_URL"])
def test_a_case_is_fetched_with_the_documented_rights(
    debian: dict[str, str], tmp_path: Path, form: str
) -> None:
    lines: list[str] = []
    with SandboxPortal(token=PORTAL_TOKEN) as portal:
        number = portal.add_case(documents=DOCUMENTS)
        env = {
            **debian,
            "REDIS_URL": debian[form],
            "DATA_DIR": str(tmp_path),
            "GRPC_LISTEN": "127.0.0.1:0",
            "PDPJ_BASE_URL": portal.url,
            "PDPJ_TOKEN": PORTAL_TOKEN,
            "WEBHOOK_SECRET": WEBHOOK_SECRET,
            "LOG_FORMAT": "json",
        }
        with (
            running_stack(env, lines.append, is_announced=False) as stack,
            closing(grpc.insecure_channel(stack.run_file.address)) as channel,
        ):
            api = pb_grpc.DownloadServiceStub(channel)
            started = api.StartDownload(pb.StartDownloadRequest(process_number=number), timeout=60)
            request = pb.WatchProgressRequest(job_id=started.job.job_id)
            [*messages] = api.WatchProgress(request, timeout=240)

    job = messages[-1].job
    assert job.state == pb.JOB_STATE_COMPLETED
    assert job.progress.completed_documents == DOCUMENTS
    # No server refused anything to any process.
    assert [line for line in lines if "part refuses" in line or "bug" in line] == []
