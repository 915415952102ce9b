"""Test rows of files: new and spooled ones recorded as stored, and the effects on their jobs."""

from __future__ import annotations

import pytest

from storage.documents.file_records import record_stored
from storage.errors import LeaseLost, PermanentError
from storage.listings import listing_record
from storage.portal import attempts, document_claims
from storage.postgres.database import Database
from tests.integration.harness import factories, scheduler_driver
from tests.integration.harness.factories import BUSY, HOOK, PDF, POLICY, held_slots

GONE = PermanentError("NOT_FOUND", "The portal does not have it.")


def test_fresh_files_and_spooled_ones_are_recorded_together(database: Database) -> None:
    job_id = scheduler_driver.job(database, 4)
    by = scheduler_driver.context()
    first, second, third, _ = scheduler_driver.ask_all(database, by)
    spooled = factories.upload(database, first)
    files = [
        spooled,
        document_claims.unrecorded_file(second, PDF),
        document_claims.unrecorded_file(third, PDF),
    ]
    before = held_slots(database)

    recorded = record_stored(
        database,
        [factories.to_store(file) for file in files],
        answered=[second.slot_token, third.slot_token],
    )

    assert recorded.recorded == {file.lease for file in files}
    rows = factories.documents(database, job_id)
    assert [row["state"] for row in rows] == ["AVAILABLE"] * 3 + ["DOWNLOADING"]
    assert {row["attempt_count"] for row in rows[:3]} == {1}
    assert {row["sha256"] for row in rows[:3]} == {PDF.sha256}
    assert before - held_slots(database) == 4, "the slots of the two, at the portal and the court"
    assert factories.job(database, job_id)["stored_bytes"] == 3 * PDF.size_bytes


def test_a_fresh_file_is_a_sign_of_life_of_its_court(database: Database) -> None:
    scheduler_driver.job(database, 3)
    by = scheduler_driver.context()
    failing, good, _ = scheduler_driver.ask_all(database, by)
    scheduler_driver.refuse(database, failing, BUSY)
    factories.execute(
        database,
        "UPDATE courts SET failure_count = 9, next_probe_time = clock_timestamp(),"
        " failing_since = clock_timestamp() - interval '1 hour'",
    )
    file = document_claims.unrecorded_file(good, PDF)

    record_stored(database, [factories.to_store(file)], answered=[good.slot_token])

    with database.autocommit() as transaction:
        court = transaction.only("SELECT failure_count, next_probe_time FROM courts")
    assert court == {"failure_count": 0, "next_probe_time": None}


@pytest.mark.parametrize("is_fresh", [True, False])
def test_the_last_file_of_a_job_ends_it_and_returns_which_webhooks_are_due(
    database: Database, is_fresh: bool
) -> None:
    view, _ = factories.start(database, factories.request(webhook_url=HOOK))
    job_id = view.job.job_id
    claim = factories.listing_claim(database, job_id)
    listing_record.record(
        database, claim, factories.listing_import(claim.process_number, factories.listing(1))
    )
    held = factories.claimed(database, job_id)
    file = (
        document_claims.unrecorded_file(held, PDF) if is_fresh else factories.upload(database, held)
    )

    stored = record_stored(database, [factories.to_store(file)])

    assert stored.ended == {job_id: [0]}
    job = factories.job(database, job_id)
    assert (job["state"], job["completed_documents"]) == ("COMPLETED", 1)
    (row,) = factories.documents(database, job_id)
    assert (row["state"], row["attempt_count"], row["sha256"]) == ("AVAILABLE", 1, PDF.sha256)
    (event,) = factories.events(database, job_id)
    assert event["documents"][0]["state"] == "AVAILABLE"
    assert event["job"]["revision"] == job["revision"] > row["revision"]
    with pytest.raises(LeaseLost):
        factories.stored(database, file)


def test_a_fresh_file_ends_a_job_of_which_not_everything_is_there(database: Database) -> None:
    job_id = scheduler_driver.job(database, 2)
    failing, good = scheduler_driver.ask_all(database, scheduler_driver.context())
    attempts.fail_attempt(database, failing, GONE, POLICY)
    file = document_claims.unrecorded_file(good, PDF)

    outcome = factories.stored(database, file)

    assert outcome.job_has_ended
    assert factories.job(database, job_id)["state"] == "PARTIALLY_COMPLETED"
    assert held_slots(database) == 0
    row = factories.documents(database, job_id)[1]
    assert (row["state"], row["attempt_count"], row["sha256"]) == ("AVAILABLE", 1, PDF.sha256)
