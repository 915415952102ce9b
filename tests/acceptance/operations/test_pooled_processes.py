"""Test all processes of Autos behind a pooler in transaction mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest

from autos.downloads.v1 import downloads_pb2 as pb
from dev.embedded.embedded_servers import EmbeddedServers
from storage.postgres.database import Database
from storage.postgres.migrate import migrate
from tests.databases import create_database
from tests.pooling.pooler import Pooler
from tests.sandbox.portal import SandboxPortal
from tests.sandbox.receivers.webhook_receiver import WebhookReceiver
from tests.system.job_calls import documents, finish, run, start
from tests.system.running_autos import Autos, running_autos


@dataclass(frozen=True)
class Pooled:
    """An Autos, and the pooler between its processes and PostgreSQL."""

    autos: Autos
    pooler: Pooler


@pytest.fixture(scope="module")
def pooled(
    servers: EmbeddedServers,
    portal: SandboxPortal,
    receiver: WebhookReceiver,
    second_port: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pooled]:
    """Yield an Autos that connects through a pooler only, to a released database."""
    folder = tmp_path_factory.mktemp("pooled", numbered=False)
    url = create_database(servers.env["DATABASE_URL"], "behind_a_pooler")
    with closing(Database(url, max_connections=1)) as database:
        migrate(database)
    with (
        Pooler(url) as pooler,
        running_autos(
            servers, portal, receiver, second_port, folder, DATABASE_URL=pooler.url(url)
        ) as autos,
    ):
        yield Pooled(autos, pooler)


def test_a_job_is_watched_to_its_end_and_its_webhook_is_sent(pooled: Pooled) -> None:
    autos = pooled.autos
    hook = autos.receiver.url_of("/pooled")

    job = run(autos, autos.portal.add_case(documents=30), webhook_url=hook)

    assert job.state == pb.JOB_STATE_COMPLETED
    states = {document.state for document in documents(autos, job)}
    assert states == {pb.DOCUMENT_STATE_AVAILABLE}
    assert autos.receiver.wait_for(1, 60, "/pooled")
    assert pooled.pooler.left == []


def test_a_job_is_cancelled(pooled: Pooled) -> None:
    autos = pooled.autos
    number = autos.portal.add_case(documents=12)
    autos.portal.hold(number)
    job = start(autos, number).job
    autos.portal.wait_held(number, 5)

    autos.api.CancelJob(pb.CancelJobRequest(job_id=job.job_id), timeout=60)

    assert finish(autos, job.job_id).state == pb.JOB_STATE_CANCELLED
    autos.portal.release(number)
    assert pooled.pooler.left == []


def test_no_process_misses_a_setting(pooled: Pooled) -> None:
    assert not [line for line in pooled.autos.lines if "sessions lack settings" in line]
