"""Test calls that wait for a job's row: they leave the threads of the pool to other calls."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from autos.downloads.v1 import downloads_pb2 as pb
from server.dependencies import ServerDependencies
from storage.errors import RowsLocked
from storage.jobs import job_queries
from storage.objects.object_store import Objects
from storage.postgres.database import Database, Transaction
from tests.integration.harness import factories
from tests.integration.harness.grpc_server import api_of, running_server, service_parts
from tests.sandbox.court_cases import cnj

PATIENCE_S = 60.0
# More than the pool has threads.
CALLS = 40


@pytest.fixture
def parts(database: Database, objects: Objects, redis_url: str) -> Iterator[ServerDependencies]:
    """Yield the dependencies of a server on the test's database."""
    with service_parts(database, objects, redis_url) as made:
        yield made


@pytest.fixture
def elsewhere(database_url: str) -> Iterator[Database]:
    """Yield connections of another process."""
    database = Database(database_url, max_connections=2)
    yield database
    database.close()


def _request(serial: int, **fields: Any) -> pb.StartDownloadRequest:
    return pb.StartDownloadRequest(
        process_number=cnj.process_number(serial, 2025, "8.26", "0100"), **fields
    )


async def _calls(api: Any, job_id: str) -> list[asyncio.Task[Any]]:
    """Begin calls that need the row of the job; the last one cancels the job."""
    joins = [api.StartDownload(_request(1, request_id=str(uuid4()))) for _ in range(CALLS)]
    cancels = [api.CancelJob(pb.CancelJobRequest(job_id=job_id)) for _ in range(CALLS)]
    retries = [api.RetryJob(pb.RetryJobRequest(job_id=job_id)) for _ in range(CALLS)]
    again = [api.RedeliverWebhook(pb.RedeliverWebhookRequest(job_id=job_id)) for _ in range(CALLS)]
    return [asyncio.ensure_future(call) for call in (*joins, *cancels, *retries, *again)]


def test_calls_that_wait_for_a_locked_job_leave_threads_to_others(
    parts: ServerDependencies, elsewhere: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine, too, no call gives up.
    monkeypatch.setattr("server.runtime.fair_executor.BUSY_LIMIT_S", 10 * PATIENCE_S)

    async def scenario(transaction: Transaction) -> list[Any]:
        async with running_server(parts) as server, api_of(server.address) as api:
            first = await api.StartDownload(_request(1))
            job_id = first.job.job_id
            transaction.all("SELECT FROM jobs WHERE job_id = %(i)s FOR UPDATE", i=UUID(job_id))
            waiting = await _calls(api, job_id)
            for serial in range(2, 5):
                other = await asyncio.wait_for(api.StartDownload(_request(serial)), PATIENCE_S)
                assert other.created
            # Every one of them needs the row.
            assert not any(call.done() for call in waiting)
            transaction.run("ROLLBACK")
            return await asyncio.gather(*waiting, return_exceptions=True)

    with elsewhere.autocommit() as transaction:
        transaction.run("BEGIN")
        answers = asyncio.run(scenario(transaction))

    # The calls come in any order: a RetryJob before the end of the job is refused.
    states = [answer.job.state for answer in answers if isinstance(answer, pb.CancelJobResponse)]
    assert states == [pb.JOB_STATE_CANCELLED] * CALLS


def test_a_call_gives_up_a_locked_row_and_has_changed_nothing(
    database: Database, elsewhere: Database
) -> None:
    job_id = factories.listed_job(database, 2)

    with elsewhere.transaction() as transaction:
        transaction.all("SELECT FROM jobs WHERE job_id = %(i)s FOR UPDATE", i=job_id)
        with pytest.raises(RowsLocked):
            job_queries.cancel(database, factories.CLIENT, job_id)

    assert factories.job(database, job_id)["state"] == "PROCESSING"
    with database.transaction() as transaction:
        # The limit ended with its transaction.
        assert transaction.only("SHOW lock_timeout")["lock_timeout"] == "0"
