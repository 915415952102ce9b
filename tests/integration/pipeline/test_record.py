"""Test recording in rounds: a row locked by one transaction delays no other file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from storage import sql
from storage.documents.file_records import FetchedFile, record_fetched, record_stored
from storage.errors import RowsLocked, ServiceUnavailable
from storage.jobs import job_queries
from storage.portal import document_claims
from storage.portal.document_claims import CheckedFile, DocumentClaim
from storage.postgres.database import Database
from tests.integration.harness import factories, scheduler_driver
from tests.integration.harness.factories import CLIENT, HOOK, PDF, to_store


@contextmanager
def _held(database_url: str, lock: str, **values: object) -> Iterator[None]:
    """Hold a lock in another session for the length of the block."""
    other = Database(database_url, max_connections=1)
    with other.transaction() as transaction:
        transaction.all(lock, **values)
        yield
    other.close()


def _holding_job(database_url: str, job_id: UUID) -> AbstractContextManager[None]:
    return _held(database_url, "SELECT FROM jobs WHERE job_id = %(id)s FOR UPDATE", id=job_id)


def _fresh(database: Database, job_id: UUID) -> CheckedFile:
    return document_claims.unrecorded_file(factories.claimed(database, job_id), PDF)


def _states(database: Database, job_id: UUID) -> list[str]:
    return [row["state"] for row in factories.documents(database, job_id)]


def _slots_of(database: Database, *leases: UUID) -> int:
    with database.autocommit() as transaction:
        rows = transaction.all("SELECT FROM slots WHERE lease = ANY(%(l)s)", l=list(leases))
    return len(rows)


def test_a_round_records_ends_and_skips_what_each_of_its_files_needs(
    database: Database, database_url: str
) -> None:
    # Given two jobs with their last file there, one with more to come, one that another transaction
    # locks, and an expired claim
    ending = [
        factories.listed_job(database, 1, factories.request(webhook_url=HOOK)) for _ in range(2)
    ]
    running, held = (factories.listed_job(database, 9) for _ in range(2))
    last = [_fresh(database, job_id) for job_id in ending]
    more = [_fresh(database, running) for _ in range(2)]
    waiting, over = _fresh(database, held), replace(_fresh(database, running), lease=uuid4())
    files = [to_store(file) for file in (*last, waiting, *more, over)]

    with _holding_job(database_url, held):
        done = record_stored(database, files)

    assert done.recorded == {file.lease for file in (*last, *more)}
    assert (done.busy, done.lost) == ({waiting.lease}, {over.lease})
    assert done.ended == {job_id: [0] for job_id in ending}
    for job_id in ending:
        assert factories.job(database, job_id)["state"] == "COMPLETED"
        assert len(factories.events(database, job_id)) == 1
    assert factories.job(database, running)["completed_documents"] == 2
    again = record_stored(database, files)
    assert again.recorded == {waiting.lease}
    assert again.lost == {file.lease for file in (*last, *more, over)}
    assert again.ended == {}


def test_two_last_files_in_one_round_end_their_job_once(database: Database) -> None:
    job_id = factories.listed_job(database, 2)
    files = [to_store(_fresh(database, job_id)) for _ in range(2)]

    done = record_stored(database, files)

    assert done.ended == {job_id: []}
    assert len(factories.events(database, job_id)) == 1
    assert len({row["revision"] for row in factories.documents(database, job_id)}) == 2


def test_nothing_to_record_is_no_round(database: Database) -> None:
    assert record_stored(database, []).recorded == set()
    assert record_fetched(database, []).recorded == set()


@pytest.mark.parametrize("is_stored", [True, False], ids=["stored", "fetched"])
def test_the_slots_of_an_answer_are_free_whether_its_file_is_recorded_or_not(
    database: Database, database_url: str, is_stored: bool
) -> None:
    held_job, cancelled_job = scheduler_driver.job(database, 1), scheduler_driver.job(database, 1)
    claims = scheduler_driver.ask_all(database, scheduler_driver.context())
    held, cancelled = sorted(claims, key=lambda claim: claim.job_id != held_job)
    job_queries.cancel(database, CLIENT, cancelled_job)
    tokens = [held.slot_token, cancelled.slot_token]
    assert _slots_of(database, *tokens) == 4

    with _holding_job(database_url, held_job):
        if is_stored:
            files = [
                to_store(document_claims.unrecorded_file(claim, PDF)) for claim in (held, cancelled)
            ]
            stored = record_stored(database, files, answered=tokens)
            outcome = (stored.busy, stored.lost)
        else:
            fetched = record_fetched(
                database,
                [FetchedFile(claim, PDF) for claim in (held, cancelled)],
                answered=tokens,
            )
            outcome = (fetched.busy, fetched.lost)

    assert outcome == ({held.lease}, {cancelled.lease})
    assert _slots_of(database, *tokens) == 0


def test_an_answer_lets_the_slow_start_grow_once_however_often_it_is_recorded(
    database: Database, database_url: str
) -> None:
    job_id = scheduler_driver.job(database, 3)
    first, second, _ = scheduler_driver.ask_all(database, scheduler_driver.context())
    factories.execute(database, "UPDATE portal SET eased = 1, eased_fast_to = 9, eased_to = 9")
    files = [to_store(document_claims.unrecorded_file(claim, PDF)) for claim in (first, second)]
    tokens = [first.slot_token, second.slot_token]

    with _holding_job(database_url, job_id):
        record_stored(database, files, answered=tokens)
    record_stored(database, files, answered=tokens)

    with database.autocommit() as transaction:
        assert transaction.only("SELECT eased FROM portal")["eased"] == 3


def test_a_request_that_began_before_its_court_failed_is_no_sign_of_life(
    database: Database,
) -> None:
    scheduler_driver.job(database, 2)
    old, new = scheduler_driver.ask_all(database, scheduler_driver.context())
    factories.execute(
        database,
        "INSERT INTO courts (court, failure_count, next_probe_time, failing_since)"
        " VALUES ('8.26', 9, clock_timestamp(), clock_timestamp())",
    )

    def is_alive_after(claim: DocumentClaim) -> bool:
        file = to_store(document_claims.unrecorded_file(claim, PDF))
        record_stored(database, [file], answered=[claim.slot_token])
        with database.autocommit() as transaction:
            court = transaction.only("SELECT failure_count, next_probe_time FROM courts")
        return court == {"failure_count": 0, "next_probe_time": None}

    assert not is_alive_after(old)
    factories.execute(database, "UPDATE courts SET failing_since = failing_since - '1 h'::interval")
    assert is_alive_after(new)


def test_a_key_that_a_sweep_holds_keeps_only_its_own_file_waiting(
    database: Database, database_url: str
) -> None:
    job_id = factories.listed_job(database, 3)
    swept, free = (to_store(_fresh(database, job_id)) for _ in range(2))
    lock = sql.statement("lock_objects")

    with _held(database_url, lock, keys=[swept.key]):
        done = record_stored(database, [swept, free])
        with pytest.raises(RowsLocked):
            record_stored(database, [swept], waits=True)

    assert (done.recorded, done.busy) == ({free.lease}, {swept.lease})
    assert record_stored(database, [swept], waits=True).recorded == {swept.lease}


@pytest.mark.parametrize("is_stored", [True, False], ids=["stored", "fetched"])
def test_a_file_that_postgresql_refuses_takes_no_other_with_it(
    database: Database, is_stored: bool
) -> None:
    job_id = factories.listed_job(database, 3)
    bad, good = (factories.claimed(database, job_id) for _ in range(2))
    # No CHECK accepts an empty file.
    contents = {bad.lease: replace(PDF, size_bytes=0), good.lease: PDF}

    def record(*held: DocumentClaim, waits: bool = False) -> tuple[set[UUID], set[UUID]]:
        if is_stored:
            files = [
                to_store(document_claims.unrecorded_file(claim, contents[claim.lease]))
                for claim in held
            ]
            stored = record_stored(database, files, waits=waits)
            return stored.recorded, stored.busy
        fetched = record_fetched(
            database,
            [FetchedFile(claim, contents[claim.lease]) for claim in held],
            waits=waits,
        )
        return fetched.recorded, fetched.busy

    assert record(bad, good) == ({good.lease}, {bad.lease})
    assert record(bad) == (set(), {bad.lease})
    with pytest.raises(Exception, match="size_bytes"):
        record(bad, waits=True)
    assert _states(database, job_id)[0] == "DOWNLOADING"


def test_a_token_records_its_own_document_only(database: Database) -> None:
    job_id = factories.listed_job(database, 2)
    first, second = (factories.claimed(database, job_id) for _ in range(2))
    forged = replace(second, document_id=first.document_id)

    assert record_fetched(database, [FetchedFile(forged, PDF)]).lost == {second.lease}
    stored = record_stored(database, [to_store(document_claims.unrecorded_file(forged, PDF))])
    assert stored.lost == {second.lease}

    assert _states(database, job_id) == ["DOWNLOADING"] * 2


def test_what_is_recorded_before_postgresql_goes_away_is_known(database_url: str) -> None:
    database = Database(database_url, max_connections=2)
    job_id = factories.listed_job(database, 3)
    held = [factories.claimed(database, job_id) for _ in range(3)]
    real, calls = database.call, list[int]()

    class Failing(Database):
        """A database that rejects the whole round, and becomes unavailable after its first file."""

        def __init__(self) -> None:
            pass

        def call(self, function: object, **values: object) -> list[dict[str, object]]:
            leases = values["leases"]
            assert isinstance(leases, list)
            calls.append(len(leases))
            if len(calls) == 1:
                raise RuntimeError
            if len(calls) > 2:
                raise ServiceUnavailable("PostgreSQL")
            return real(function, **values)  # type: ignore[arg-type]

    done = record_fetched(Failing(), [FetchedFile(claim, PDF) for claim in held])

    assert calls == [3, 1, 1]
    assert done.recorded == {held[0].lease}
    assert done.busy == {held[1].lease, held[2].lease}
    database.close()
