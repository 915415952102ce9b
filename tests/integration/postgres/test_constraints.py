"""Test that constraints refuse contradictory rows, whatever a bug of our code writes."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID, uuid4

import peewee
import pytest

from storage.errors import PermanentError
from storage.jobs import job_queries
from storage.listings.listed_case import CaseListing
from storage.portal import attempts
from storage.postgres.database import Database
from tests.integration.harness import factories
from tests.integration.harness.empty_databases import EmptyDatabases

NOW = "clock_timestamp()"
SHA = "'" + "0" * 64 + "'"
FILE = f"sha256 = {SHA}, size_bytes = 1, content_type = 'a/b', extension = 'c'"
NO_FILE = "sha256 = NULL, size_bytes = NULL, content_type = NULL, extension = NULL"
CLAIM = f"lease = gen_random_uuid(), spool_id = gen_random_uuid(), lease_until = {NOW}"
ERROR = "error_reason = 'R', error_message = 'm', error_is_retryable = true"
ENDED = f"end_time = {NOW}, start_time = {NOW}"


@pytest.fixture(scope="module")
def database(databases: EmptyDatabases) -> Iterator[Database]:
    """Return one database for all of these tests: refused statements leave nothing."""
    with databases.one() as url:
        database = Database(url, max_connections=1)
        yield database
        database.close()


@pytest.fixture(scope="module")
def two_waiting(database: Database) -> UUID:
    """Return a job that is PROCESSING, with two documents of which none has ended."""
    return factories.listed_job(database, 2)


def _refused(database: Database, sql: str, job_id: UUID) -> None:
    with pytest.raises(peewee.IntegrityError), database.transaction() as transaction:
        transaction.run(sql, id=job_id)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("state = 'DONE'", id="unknown state"),
        pytest.param("process_number = '1'", id="no process number"),
        pytest.param("run = 0", id="no run"),
        pytest.param("state = 'PENDING'", id="pending but started"),
        pytest.param("start_time = NULL", id="processing but not started"),
        pytest.param(f"end_time = {NOW}", id="running but ended"),
        pytest.param("state = 'CANCELLED'", id="ended without a time"),
        pytest.param(f"state = 'COMPLETED', {ENDED}", id="completed, documents missing"),
        pytest.param(
            f"state = 'COMPLETED', {ENDED}, completed_documents = 1", id="completed, one missing"
        ),
        pytest.param(
            f"state = 'COMPLETED', {ENDED}, completed_documents = 1, failed_documents = 1",
            id="completed, one failed",
        ),
        pytest.param(
            f"state = 'COMPLETED', {ENDED}, total_documents = NULL, listed_time = NULL",
            id="completed but never listed",
        ),
        pytest.param(
            f"state = 'COMPLETED', {ENDED}, completed_documents = 2, {ERROR}",
            id="completed with an error",
        ),
        pytest.param(
            f"state = 'PARTIALLY_COMPLETED', {ENDED}, completed_documents = 2",
            id="partially, none failed",
        ),
        pytest.param(
            f"state = 'PARTIALLY_COMPLETED', {ENDED}, failed_documents = 2",
            id="partially, none available",
        ),
        pytest.param(
            f"state = 'FAILED', {ENDED}, failed_documents = 2", id="failed without a reason"
        ),
        pytest.param(
            f"state = 'FAILED', {ENDED}, {ERROR}, failed_documents = 1, completed_documents = 1",
            id="failed, one available",
        ),
        pytest.param(
            f"state = 'FAILED', {ENDED}, {ERROR}, failed_documents = 1", id="failed, one pending"
        ),
        pytest.param(
            f"state = 'CANCELLED', {ENDED}, cancelled_documents = 1", id="cancelled, one pending"
        ),
        pytest.param("completed_documents = 3", id="more available than there are"),
        pytest.param(
            "failed_documents = 2, cancelled_documents = 1", id="more over than there are"
        ),
        pytest.param("completed_documents = -1", id="less than none"),
        pytest.param("stored_bytes = -1", id="less than no bytes"),
        pytest.param("completed_documents = 1, reused_documents = 2", id="more reused than there"),
        pytest.param("total_documents = NULL", id="listed without a total"),
        pytest.param("listed_time = NULL", id="a total without a listing"),
        pytest.param("max_age_s = -1", id="negative age"),
        pytest.param("deadline_time = NULL", id="no deadline"),
        pytest.param("listing_lease = gen_random_uuid()", id="a lease without an end"),
        pytest.param(f"listing_lease_until = {NOW}", id="the end of no lease"),
        pytest.param(
            f"listing_lease = gen_random_uuid(), listing_lease_until = {NOW}",
            id="being listed when listed already",
        ),
        pytest.param(ERROR, id="an error before the end"),
        pytest.param("error_message = 'm'", id="a message without a reason"),
        pytest.param("error_is_retryable = true", id="retryable without a reason"),
    ],
)
def test_a_job_never_contradicts_itself(database: Database, two_waiting: UUID, change: str) -> None:
    _refused(database, f"UPDATE jobs SET {change} WHERE job_id = %(id)s", two_waiting)


def test_an_ended_job_is_not_being_listed(database: Database) -> None:
    view, _ = factories.start(database)
    claim = factories.listing_claim(database, view.job.job_id)
    no_case = PermanentError("NOT_FOUND", "no such case")
    attempts.fail_attempt(database, claim, no_case, factories.POLICY)

    lease = f"listing_lease = gen_random_uuid(), listing_lease_until = {NOW}"
    _refused(database, f"UPDATE jobs SET {lease} WHERE job_id = %(id)s", view.job.job_id)


def test_a_case_has_one_running_job(database: Database) -> None:
    job_id = factories.listed_job(database, 2)

    again = (
        "INSERT INTO jobs (job_id, client, process_number, state, start_time, deadline_time,"
        " max_age_s) SELECT gen_random_uuid(), client, process_number, state, start_time,"
        " deadline_time, max_age_s FROM jobs WHERE job_id = %(id)s"
    )
    _refused(database, again, job_id)


# Documents that wait, are being downloaded, are in the spool, are stored, have failed.
_KINDS = {"PENDING", "DOWNLOADING", "DOWNLOADED", "AVAILABLE", "FAILED"}


@pytest.fixture(scope="module")
def document_of_each(database: Database) -> UUID:
    """Return a job with one document in each of _KINDS."""
    case = CaseListing(
        0,
        (*factories.listing(4).documents, factories.listed(4, hrefs=(), refused_reason="NO_LINK")),
    )
    job_id = factories.listed_job(database, case)
    stored, spooled, _ = (factories.claimed(database, job_id) for _ in range(3))
    file = factories.upload(database, stored)
    factories.stored(database, file)
    factories.spooled(database, spooled, factories.PDF)
    assert {d["state"] for d in factories.documents(database, job_id)} == _KINDS
    return job_id


@pytest.mark.parametrize(
    ("state", "change"),
    [
        pytest.param("PENDING", "state = 'LOST'", id="unknown state"),
        pytest.param("PENDING", "position = -1", id="no position"),
        pytest.param("PENDING", "position = 1", id="another's position"),
        pytest.param("PENDING", "href_index = -1", id="no link chosen"),
        pytest.param("PENDING", "href_index = 1", id="a link that is not there"),
        pytest.param("PENDING", "hrefs = '{}'", id="waiting without a link"),
        pytest.param("PENDING", CLAIM, id="a lease in PENDING"),
        pytest.param("PENDING", f"lease_until = {NOW}", id="the end of no lease"),
        pytest.param("PENDING", "spool_id = gen_random_uuid()", id="a spool without a lease"),
        pytest.param("PENDING", FILE, id="a file in PENDING"),
        pytest.param("PENDING", "state = 'DOWNLOADING'", id="downloading without a lease"),
        pytest.param("PENDING", "state = 'AVAILABLE'", id="available out of nothing"),
        pytest.param("PENDING", "state = 'FAILED'", id="failed without a reason"),
        pytest.param("PENDING", "is_reused = true", id="reused but not there"),
        pytest.param("PENDING", "listed_size_bytes = -1", id="less than no bytes"),
        pytest.param("DOWNLOADING", "lease = NULL", id="downloading, lease lost"),
        pytest.param("DOWNLOADING", "lease_until = NULL", id="downloading for ever"),
        pytest.param("DOWNLOADING", "spool_id = NULL", id="downloading to nowhere"),
        pytest.param("DOWNLOADING", "slice_size = NULL", id="a slice of no size"),
        pytest.param("PENDING", "slice_size = 1", id="the size of no slice"),
        pytest.param("DOWNLOADING", FILE, id="a hash before the end"),
        pytest.param("DOWNLOADING", "state = 'DOWNLOADED'", id="downloaded without a hash"),
        pytest.param("DOWNLOADING", "state = 'PENDING'", id="given back with its lease"),
        pytest.param("DOWNLOADING", "state = 'CANCELLED'", id="cancelled with its lease"),
        pytest.param("DOWNLOADED", "lease = NULL, spool_id = NULL", id="a file without an owner"),
        pytest.param("DOWNLOADED", f"not_before = {NOW}", id="downloaded yet waiting"),
        pytest.param("DOWNLOADED", "sha256 = 'abc'", id="no hash"),
        pytest.param("DOWNLOADED", f"sha256 = upper('{'ab' * 32}')", id="a hash in capitals"),
        pytest.param("DOWNLOADED", "size_bytes = 0", id="an empty file"),
        pytest.param("DOWNLOADED", "size_bytes = NULL", id="a hash without a size"),
        pytest.param("DOWNLOADED", "content_type = NULL", id="a hash without a type"),
        pytest.param("DOWNLOADED", "extension = NULL", id="a hash without an extension"),
        pytest.param("DOWNLOADED", "object_key = 'k'", id="an object before its time"),
        pytest.param("DOWNLOADED", "state = 'AVAILABLE', object_key = 'k'", id="stored yet leased"),
        pytest.param("AVAILABLE", NO_FILE, id="available without a hash"),
        pytest.param("AVAILABLE", "object_key = NULL", id="available without an object"),
        pytest.param("AVAILABLE", ERROR, id="available with an error"),
        pytest.param("AVAILABLE", CLAIM, id="a lease in AVAILABLE"),
        pytest.param("AVAILABLE", f"state = 'FAILED', {ERROR}", id="failed with an object"),
        pytest.param("AVAILABLE", f"not_before = {NOW}", id="available yet waiting"),
        pytest.param("FAILED", "error_reason = NULL", id="failed without a reason"),
        pytest.param("FAILED", "error_message = NULL", id="a reason without a message"),
        pytest.param("FAILED", "error_is_retryable = NULL", id="a reason, retryable unknown"),
        pytest.param("FAILED", CLAIM, id="a lease in FAILED"),
        pytest.param("FAILED", "state = 'PENDING'", id="tried again without a link"),
    ],
)
def test_a_document_never_contradicts_itself(
    database: Database, document_of_each: UUID, state: str, change: str
) -> None:
    sql = f"UPDATE documents SET {change} WHERE job_id = %(id)s AND state = '{state}'"

    _refused(database, sql, document_of_each)


def test_two_documents_never_share_a_lease(database: Database) -> None:
    job_id = factories.listed_job(database, 2)
    factories.claimed(database, job_id)
    factories.claimed(database, job_id)

    _refused(
        database,
        "UPDATE documents SET lease = (SELECT lease FROM documents WHERE job_id = %(id)s LIMIT 1)"
        " WHERE job_id = %(id)s",
        job_id,
    )


DELIVERED = f"delivered_time = {NOW}"


@pytest.fixture(scope="module")
def due_webhook(database: Database) -> UUID:
    """Return an ended job with a due webhook."""
    view, _ = factories.start(database, factories.request(webhook_url=factories.HOOK))
    job_queries.cancel(database, factories.CLIENT, view.job.job_id)
    return view.job.job_id


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("state = 'SENT'", id="unknown state"),
        pytest.param("state = 'WAITING'", id="waiting with an event"),
        pytest.param("event_id = NULL", id="due without an event"),
        pytest.param("event_id = gen_random_uuid()", id="an event that is not there"),
        pytest.param("webhook_id = NULL", id="due without an id"),
        pytest.param("next_attempt_time = NULL", id="due at no time"),
        pytest.param(DELIVERED, id="due yet delivered"),
        pytest.param("state = 'DELIVERED', next_attempt_time = NULL", id="delivered at no time"),
        pytest.param(f"state = 'DELIVERED', {DELIVERED}", id="delivered and to be sent"),
        pytest.param("state = 'FAILED'", id="given up and to be sent"),
        pytest.param("lease = gen_random_uuid()", id="a lease without an end"),
        pytest.param(f"lease_until = {NOW}", id="the end of no lease"),
        pytest.param(
            f"state = 'FAILED', next_attempt_time = NULL, lease = gen_random_uuid(),"
            f" lease_until = {NOW}",
            id="given up with a lease",
        ),
    ],
)
def test_a_webhook_never_contradicts_itself(
    database: Database, due_webhook: UUID, change: str
) -> None:
    _refused(database, f"UPDATE webhooks SET {change} WHERE job_id = %(id)s", due_webhook)


def test_a_url_is_a_jobs_webhook_once(database: Database) -> None:
    view, _ = factories.start(database, factories.request(webhook_url=factories.HOOK))

    again = (
        "INSERT INTO webhooks (job_id, position, url, state)"
        " SELECT job_id, 9, url, state FROM webhooks WHERE job_id = %(id)s"
    )
    _refused(database, again, view.job.job_id)


def test_a_run_ends_once(database: Database) -> None:
    job_id = factories.listed_job(database, 0)

    again = (
        "INSERT INTO events (event_id, client, job_id, run, type, event_time, job)"
        f" VALUES ('{uuid4()}', 'c', %(id)s, 1, 'download.failed', {NOW}, '{{}}')"
    )
    _refused(database, again, job_id)


def test_the_type_of_an_event_is_one_of_the_contract(database: Database) -> None:
    job_id = factories.listed_job(database, 0)

    _refused(database, "UPDATE events SET type = 'download.done' WHERE job_id = %(id)s", job_id)
