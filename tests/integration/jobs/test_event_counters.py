"""Test that each event is counted once, at its commit, whichever function causes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from storage.errors import LeaseLost, PermanentError
from storage.jobs import job_queries
from storage.objects.object_store import Objects
from storage.portal import attempts
from storage.postgres.database import Database
from storage.scheduling import reconciliation
from storage.telemetry.series import BY_NAME
from storage.webhooks import webhook_rows
from tests.integration.harness import factories
from tests.integration.harness.factories import CLIENT

Counts = Counter[str]
NO = PermanentError("NO_ACCESS", "No.")
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def counts() -> Counts:
    """Return the value of every counter, by name and labels."""
    return Counter()


@pytest.fixture
def counting(database_url: str, counts: Counts) -> Iterator[Database]:
    """Return the test's database with its transactions counted."""

    def count(name: str, labels: tuple[str, ...], number: float) -> None:
        assert len(labels) == len(BY_NAME[name].labels)
        # The pool counts its connections, too.
        if not name.startswith("autos_database_"):
            counts[" ".join((name, *labels))] += int(number)

    database = Database(database_url, max_connections=10, on_count=count)
    yield database
    database.close()


def test_each_end_of_a_document_and_of_a_run_is_counted_once(
    counting: Database, counts: Counts
) -> None:
    job_id = factories.listed_job(counting, 3)
    file = factories.store_next(counting, job_id)
    with pytest.raises(LeaseLost):
        factories.stored(counting, file)
    attempts.fail_attempt(counting, factories.claimed(counting, job_id), NO, factories.POLICY)
    factories.store_next(counting, job_id)

    assert counts == {
        "autos_documents_ended AVAILABLE ": 2,
        "autos_documents_ended FAILED NO_ACCESS": 1,
        "autos_jobs_ended PARTIALLY_COMPLETED": 1,
    }


def _count_and_break(database: Database) -> None:
    with database.transaction() as transaction:
        transaction.count("autos_jobs_ended", "FAILED")
        raise ZeroDivisionError


def test_what_is_cancelled_is_counted_and_what_is_rolled_back_is_not(
    counting: Database, counts: Counts
) -> None:
    job_id = factories.listed_job(counting, 4)
    with pytest.raises(ZeroDivisionError):
        _count_and_break(counting)
    assert counts == {}

    job_queries.cancel(counting, CLIENT, job_id)
    job_queries.cancel(counting, CLIENT, job_id)
    assert counts == {"autos_documents_ended CANCELLED ": 4, "autos_jobs_ended CANCELLED": 1}


def test_claims_whose_holders_are_gone_are_counted_by_step(
    counting: Database, counts: Counts
) -> None:
    view, _ = factories.start(counting)
    factories.listing_claim(counting, view.job.job_id)
    factories.age(counting, view.job.job_id, 3_000)
    factories.listing_claim(counting, view.job.job_id)

    job_id = factories.listed_job(counting, 2)
    factories.claimed(counting, job_id)
    factories.spooled(counting, factories.claimed(counting, job_id), factories.PDF)
    factories.age(counting, job_id, 3_000)
    reconciliation.reclaim(counting)

    started, _ = factories.start(counting, factories.request(webhook_url=factories.HOOK))
    job_queries.cancel(counting, CLIENT, started.job.job_id)
    assert webhook_rows.claim(counting, started.job.job_id, 0, lease_s=60)
    factories.age(counting, started.job.job_id, 3_000)
    assert webhook_rows.claim(counting, started.job.job_id, 0, lease_s=60)

    lost = {name: number for name, number in counts.items() if name.startswith("autos_leases")}
    assert lost == {
        "autos_leases_lost list": 1,
        "autos_leases_lost download": 1,
        "autos_leases_lost upload": 1,
        "autos_leases_lost webhook": 1,
    }


def test_a_run_belongs_to_the_trace_of_the_call_that_began_it(
    database: Database, objects: Objects
) -> None:
    wanted = factories.request(traceparent=TRACEPARENT, webhook_url=factories.HOOK)
    job_id = factories.listed_job(database, 1, wanted)
    joined, is_new = factories.start(database, factories.request(wanted.process_number))
    assert (joined.job.job_id, is_new) == (job_id, False)

    held = factories.claimed(database, job_id)
    assert held.traceparent == TRACEPARENT
    attempts.fail_attempt(database, held, NO, factories.POLICY)
    delivery = webhook_rows.claim(database, job_id, 0, lease_s=60)
    assert delivery
    assert delivery.traceparent == TRACEPARENT

    factories.rerun(database, objects, job_id)
    again = factories.upload(database, factories.claimed(database, job_id))
    assert again.traceparent is None
