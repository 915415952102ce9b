"""A pipeline for the tests of watched cases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from storage.objects.object_store import Objects
from storage.postgres.database import Database
from storage.spool import Spool
from tests.integration.harness.pipeline_harness import PipelineHarness, running_pipeline


@pytest.fixture
def pipeline(
    database: Database, objects: Objects, redis_url: str, spool: Spool
) -> Iterator[PipelineHarness]:
    """Yield a pipeline on the test's database."""
    with running_pipeline(database, objects, redis_url, spool) as pipeline:
        yield pipeline
