"""Test that PDPJ_MAX_PER_MINUTE costs nothing: the same slices in the same transactions."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from storage.objects.object_store import Objects
from storage.portal.slots import court_of
from storage.postgres.database import Database, Row, Transaction
from storage.spool import Spool
from storage.sql import SqlFunction
from tests.integration.harness import factories
from tests.integration.harness.pipeline_harness import PipelineHarness, running_pipeline
from tests.integration.harness.pipeline_hooks import CONNECTIONS

DOCUMENTS = 24


class CountedDatabase(Database):
    """A database that records the transactions of the thread that made it."""

    def __init__(self, url: str) -> None:
        super().__init__(url, max_connections=CONNECTIONS)
        self.noted: list[str] = []
        self._thread = threading.get_ident()

    def call(self, function: SqlFunction, **values: Any) -> list[Row]:
        """Call a function."""
        self._note(function.name)
        return super().call(function, **values)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Yield a transaction."""
        self._note("transaction")
        with super().transaction() as transaction:
            yield transaction

    @contextmanager
    def autocommit(self) -> Iterator[Transaction]:
        """Yield a connection without a transaction."""
        self._note("autocommit")
        with super().autocommit() as transaction:
            yield transaction

    def _note(self, name: str) -> None:
        if threading.get_ident() == self._thread:
            self.noted.append(name)


def _noted(pipeline: PipelineHarness, database: CountedDatabase) -> list[str]:
    """Return the transactions that the documents of a job need."""
    number = pipeline.sandbox.add_case(documents=DOCUMENTS)
    job_id = pipeline.begin(number)
    pipeline.list_job(job_id)
    factories.make_quick(database, court_of(number))
    # The rows of the slots exist by then.
    pipeline.download(job_id)
    database.noted.clear()
    pipeline.work()
    assert factories.job(database, job_id)["state"] == "COMPLETED"
    assert pipeline.requested_files(number) == [1] * DOCUMENTS
    return [*database.noted]


def test_a_job_takes_the_same_transactions_with_a_rate_as_without(
    database_url: str, objects: Objects, redis_url: str, tmp_path: Path
) -> None:
    spool = Spool(tmp_path / "spool", uuid4(), 2**32)
    with (
        closing(CountedDatabase(database_url)) as database,
        running_pipeline(database, objects, redis_url, spool) as pipeline,
    ):
        limits = pipeline.worker.context.limits
        without = _noted(pipeline, database)
        with_rate = _noted(pipeline.with_limits(replace(limits, per_minute=60_000)), database)

    assert len(without) > 2
    assert with_rate == without
