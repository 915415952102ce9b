"""Test that the reads of a hot step do not grow with the tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from uuid import UUID, uuid4

import psycopg2
import pytest

from dev.processes.deadline import until
from storage import sql
from storage.documents.file_records import FetchedFile, record_fetched, record_stored
from storage.documents.leases import renew_leases, take_uploads
from storage.jobs import job_queries
from storage.jobs.job_start import StartAttempt, start_jobs
from storage.listings import listing_record
from storage.portal import document_claims
from storage.portal.document_claims import DocumentClaim
from storage.portal.listing_claims import ListingClaim
from storage.portal.request_claims import Slice, claim, claim_any, return_unstarted
from storage.portal.slots import PORTAL, ensure_rows
from storage.postgres.database import Database
from storage.scheduling import scheduler_readings
from tests.integration.harness import factories, scheduler_driver
from tests.integration.harness.empty_databases import EmptyDatabases
from tests.integration.harness.factories import PDF
from tests.integration.harness.row_reads import CountingDatabase, Step
from tests.integration.harness.scheduler_driver import context

# The factor by which each is larger in the large world.
CROWD, DOCUMENTS_EACH, DOCUMENTS_OF_ONE = 20, 20, 300
GROWTH = 10
ROUNDS = 15
AT_ONCE = 12
# Additional reads that a larger table may cause: dead rows and the height of an index differ. The
# second number allows for a different index that PostgreSQL finds equally good.
MOST_TIMES, MOST_MORE = 1.25, 50.0
HOT = (
    sql.function("claim"),
    sql.function("claim_any"),
    sql.function("return_documents"),
    sql.function("read_jobs"),
    sql.function("start_jobs"),
    sql.function("record_listing"),
    sql.function("record_fetched"),
    sql.function("record_stored"),
    sql.function("take_uploads"),
    sql.function("renew_leases"),
)
# No limit is reached: the test measures only what a claim reads.
ASKING = context(at_once=100, per_court=100)


@contextmanager
def _unattended(url: str) -> Iterator[None]:
    """Disable autovacuum for the length of the block.

    It would change plans in the middle. While it analyzes a table, also one of the catalog, no
    session removes dead rows, so that each step reads more of them.
    """
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True

        def is_off() -> bool:
            cursor.execute("SELECT FROM pg_stat_activity WHERE backend_type LIKE 'autovacuum %'")
            return cursor.fetchone() is None

        try:
            cursor.execute("ALTER SYSTEM SET autovacuum = off")
            cursor.execute("SELECT pg_reload_conf()")
            until(is_off, 60, "autovacuum goes on")
            # Rows that earlier tests deleted are still there, dead, and every step would read them.
            cursor.execute("SELECT relname FROM pg_stat_user_tables")
            for (table,) in cursor.fetchall():
                cursor.execute(f'VACUUM FULL "{table}"')
            yield
        finally:
            cursor.execute("ALTER SYSTEM RESET autovacuum")
            cursor.execute("SELECT pg_reload_conf()")


@contextmanager
def _world(url: str, times: int) -> Iterator[tuple[Database, CountingDatabase]]:
    """Return a database that grew `times` after a session made its plans, and that session."""
    with (
        _unattended(url),
        closing(Database(url, max_connections=1)) as database,
        closing(CountingDatabase(url)) as session,
    ):
        # So many that PostgreSQL prefers an index to a look at all of them.
        with database.transaction() as transaction:
            for scope in (PORTAL, "8.26"):
                ensure_rows(transaction, scope, 1_000)
        scheduler_driver.job(database, DOCUMENTS_EACH, client="crowd")
        _run(session, 2)
        scheduler_driver.job(database, DOCUMENTS_OF_ONE * times, client="large")
        for _ in range(CROWD * times):
            scheduler_driver.job(database, DOCUMENTS_EACH, client="crowd")
        yield database, session


def _settle(url: str, database: Database) -> None:
    """Cancel some jobs, then have PostgreSQL clean its tables and count their rows."""
    for job_id in _running(database, "crowd")[::2]:
        job_queries.cancel(database, "crowd", job_id)
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        connection.cursor().execute("VACUUM (ANALYZE)")


def _running(database: Database, client: str) -> list[UUID]:
    with database.autocommit() as transaction:
        rows = transaction.all(
            "SELECT job_id FROM jobs WHERE client = %(client)s AND end_time IS NULL", client=client
        )
    return [row["job_id"] for row in rows]


def _run(session: CountingDatabase, rounds: int = ROUNDS) -> dict[str, Step]:
    """Bring documents and jobs through every hot step; return what each step read."""
    session.steps.clear()
    for _ in range(rounds):
        with session.step("start"):
            wanted = [StartAttempt(factories.request())]
            (started,) = start_jobs(session, wanted, job_deadline_s=3_600)
        assert started.view
        _list(session, started.view.job.job_id)
        found = _claimed(session)
        with session.step("read"):
            scheduler_readings.read_jobs(session, after=uuid4(), limit=5)
            scheduler_readings.read_listed(session, found[0].job_id, found[0].process_number)
        with session.step("renew"):
            renew_leases(session, [claim.lease for claim in found], lease_s=60)
        with session.step("return"):
            return_unstarted(session, found[0].job_id, [found[0].lease])
        _store(session, found[1:])
    # The look-ups of the test itself are no step.
    return {name: step for name, step in session.steps.items() if step.runs}


def _list(session: CountingDatabase, job_id: UUID) -> None:
    with session.step("claim listing"):
        listing = claim(session, ASKING, job_id)
    assert isinstance(listing, ListingClaim)
    case = factories.listing_import(listing.process_number, factories.listing(1))
    with session.step("list"):
        listing_record.record(session, listing, case)


def _claimed(session: CountingDatabase) -> list[DocumentClaim]:
    """Claim documents of running jobs."""
    found: list[DocumentClaim] = []
    for job_id in [*_running(session, "large"), *_running(session, "crowd")[:AT_ONCE]]:
        with session.step("claim"):
            answer = claim(session, ASKING, job_id, AT_ONCE)
        if isinstance(answer, Slice):
            found += answer.documents
    with session.step("claim any"):
        for _ in range(2):
            other = claim_any(session, ASKING, 1)
            if isinstance(other, Slice):
                found += other.documents
    return found


def _store(session: CountingDatabase, found: list[DocumentClaim]) -> None:
    """Send every second document through the spool and record the others at once."""
    spooled, fresh = found[::2], found[1::2]
    files = [document_claims.unrecorded_file(claim, PDF) for claim in fresh]
    if spooled:
        with session.step("spool"):
            spooled_files = [FetchedFile(each, PDF) for each in spooled]
            record_fetched(session, spooled_files, answered=[each.slot_token for each in spooled])
        with session.step("take"):
            files += take_uploads(
                session,
                ASKING.spool_id,
                woken_by=[spooled[0].lease],
                most=AT_ONCE,
                lease_s=60,
            )
    if files:
        with session.step("store"):
            record_stored(
                session,
                [factories.to_store(file) for file in files],
                answered=[each.slot_token for each in fresh],
            )


def _grown(small: dict[str, Step], large: dict[str, Step]) -> list[str]:
    """Describe the steps that read more of a relation than they may."""
    found = []
    for name, step in sorted(large.items()):
        for relation, reads in sorted(step.reads.items()):
            before, runs = small[name].reads[relation], small[name].runs
            for kind, few, many in (
                ("rows", before.rows / runs, reads.rows / step.runs),
                ("pages", before.pages / runs, reads.pages / step.runs),
            ):
                if many > MOST_TIMES * few + MOST_MORE:
                    found.append(f"{name}: {few:.1f} then {many:.1f} {kind} of {relation}")
    return found


@contextmanager
def _without(url: str, index: str) -> Iterator[None]:
    """Yield the database without an index, and create it again for the next test."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("SELECT pg_get_indexdef(to_regclass(%s))", [index])
        (definition,) = cursor.fetchone() or ("",)
        cursor.execute(f"DROP INDEX {index}")
        yield
        cursor.execute(definition)


def test_no_hot_step_reads_more_when_the_tables_are_many_times_as_large(
    databases: EmptyDatabases,
) -> None:
    with databases.one(is_new=True) as url, _world(url, 1) as (_, session):
        small = _run(session)

    with databases.one(is_new=True) as url, _world(url, GROWTH) as (database, session):
        # With plans made while the tables were small
        kept = _run(session)
        _settle(url, database)
        # And with plans made for large, analyzed tables
        with closing(CountingDatabase(url)) as fresh_session:
            fresh = _run(fresh_session)

    assert session.called >= {function.name for function in HOT}
    assert set(kept) == set(fresh) == set(small)
    assert _grown(small, kept) == []
    assert _grown(small, fresh) == []


@pytest.mark.parametrize("index", ["documents_in_lane", "documents_lease"])
def test_a_step_that_has_lost_its_index_is_noticed(databases: EmptyDatabases, index: str) -> None:
    found: list[dict[str, Step]] = []
    for times in (1, GROWTH):
        with (
            databases.one(is_new=True) as url,
            _without(url, index),
            _world(url, times) as (_, session),
        ):
            found.append(_run(session, 3))

    assert _grown(*found) != []
