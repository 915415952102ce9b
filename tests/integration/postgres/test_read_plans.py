"""Test that the cost of a caller's read does not grow with the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from dev.embedded.embedded_servers import EmbeddedServers
from storage.documents import document_queries
from storage.documents.document_queries import DocumentFilter
from storage.jobs import batches, job_queries, watch_queries
from storage.jobs.job_queries import JobFilter
from storage.scheduling import reconciliation
from storage.subscriptions import looks, subscription_rows
from storage.webhooks import delivery_limits, webhook_rows
from tests.integration.harness.empty_databases import EmptyDatabases
from tests.integration.harness.factories import CLIENT
from tests.integration.harness.row_reads import CountingDatabase, Step
from tests.integration.plans import large_tables

PAGE = 10
# Rows or pages of one table or index: a few for each row of a page.
MOST = 5 * PAGE


@pytest.fixture
def database(servers: EmbeddedServers, databases: EmptyDatabases) -> Iterator[CountingDatabase]:
    """Return a database with large, analyzed tables.

    No other test gets it, since its dead rows would count there.
    """
    url = large_tables.create(servers.env["DATABASE_URL"], "read_plans")
    with closing(CountingDatabase(url)) as database:
        yield database


def _no_client(_client: str) -> None:
    """Return that no client is known."""


def _read(database: CountingDatabase) -> dict[str, Step]:
    """Make each read of a caller once. Return what each read."""
    newest = job_queries.page(database, JobFilter(CLIENT), PAGE)[0]
    job = next(v.job for v in newest if v.job.process_number[6] == "0")
    batch_id = job.batch_id
    assert batch_id is not None
    document = document_queries.page(database, CLIENT, DocumentFilter(job.job_id), 1)[0][0]
    after = (newest[-1].job.create_time, newest[-1].job.job_id)
    ids = [view.job.job_id for view in newest]
    reads: dict[str, Callable[[], object]] = {
        "a job": lambda: job_queries.get(database, CLIENT, job.job_id),
        "the newest job": lambda: job_queries.newest(database, CLIENT, job.process_number),
        "a page of jobs": lambda: job_queries.page(database, JobFilter(CLIENT), PAGE)[0],
        "the next page": lambda: job_queries.page(database, JobFilter(CLIENT, after=after), PAGE)[
            0
        ],
        "a page of running jobs": lambda: job_queries.page(
            database, JobFilter(CLIENT, states=("PROCESSING",)), PAGE
        )[0],
        "the jobs of a case": lambda: job_queries.page(
            database, JobFilter(CLIENT, job.process_number), PAGE
        )[0],
        "the jobs with a label": lambda: job_queries.page(
            database, JobFilter(CLIENT, labels={"all": "x"}, after=after), PAGE
        )[0],
        "the jobs of a time": lambda: job_queries.page(
            database, JobFilter(CLIENT, created_from=after[0], created_to=after[0]), PAGE
        )[0],
        "the jobs of a batch": lambda: job_queries.page(
            database, JobFilter(CLIENT, batch_id=batch_id, after=after), PAGE
        )[0],
        "a batch": lambda: batches.counts(database, CLIENT, batch_id),
        "the results of a batch": lambda: batches.results(database, batch_id),
        "a document": lambda: document_queries.get(
            database, CLIENT, job.job_id, document.document_id
        ),
        "a page of documents": lambda: document_queries.page(
            database, CLIENT, DocumentFilter(job.job_id, ("PENDING",), PAGE), PAGE
        ),
        "revisions": lambda: job_queries.revisions(database, ids),
        "what watchers read": lambda: watch_queries.read_changes(
            database, {job.job_id: job.revision - 3}
        ),
        "the newest of many cases": lambda: watch_queries.newest(
            database, [(CLIENT, view.job.process_number) for view in newest]
        ),
        "the next webhook": lambda: delivery_limits.next_webhook(database, CLIENT),
        "the due webhooks of a job": lambda: webhook_rows.due(database, job.job_id),
        "the lease of a webhook": lambda: webhook_rows.claim(database, job.job_id, 0, lease_s=60),
        "looks that are due": lambda: looks.start(database, _no_client, deadline_s=60),
        "a page of subscriptions": lambda: subscription_rows.page(database, CLIENT, "", PAGE),
        "files without a row": lambda: reconciliation.orphaned_tokens(database, ids),
    }
    database.steps.clear()
    for name, read in reads.items():
        with database.step(name):
            assert read() is not None
    return dict(database.steps)


def _too_many(steps: dict[str, Step]) -> list[str]:
    return [
        f"{name}: {reads.rows} rows and {reads.pages} pages of {relation}"
        for name, step in steps.items()
        for relation, reads in step.reads.items()
        if max(reads.rows, reads.pages) > MOST
    ]


def test_no_callers_read_grows_with_the_tables(database: CountingDatabase) -> None:
    assert _too_many(_read(database)) == []


@pytest.mark.parametrize(
    "index",
    [
        "jobs_newest",
        "documents_changed",
        "jobs_of_case",
        "job_labels_newest",
        "jobs_of_batch",
        "subscriptions_due",
    ],
)
def test_a_read_that_has_lost_its_index_is_noticed(database: CountingDatabase, index: str) -> None:
    with database.raw() as db:
        db.execute_sql(f"DROP INDEX {index}")

    assert _too_many(_read(database)) != []
