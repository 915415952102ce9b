"""Test the record of a listing: its effects on the portal, the slots and the job's end."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from storage.errors import LeaseLost
from storage.listings import listing_record
from storage.listings.listing_import import ListingImport
from storage.listings.listing_record import RecordedListing
from storage.portal.listing_claims import ListingClaim
from storage.postgres.database import Database, Row
from tests.integration.harness import factories

COURT = "8.26"


def _claim(database: Database, *, is_copied: bool) -> ListingClaim:
    """Return a claimed listing with its slots; `is_copied`: another job's listing serves it."""
    number = factories.process_number()
    view, _ = factories.start(database, factories.request(number, client="another"))
    if is_copied:
        factories.listed_job(database, 2, factories.request(number))
    claim = factories.listing_claim(database, view.job.job_id)
    assert (claim.listed_by is not None) is is_copied
    factories.execute(
        database,
        "INSERT INTO slots (scope, number, lease, lease_until, taken_time)"
        " SELECT scope, 0, %(lease)s, now() + interval '1 minute', now() + interval '1 second'"
        " FROM unnest(ARRAY['', %(court)s]) AS scope ON CONFLICT (scope, number) DO UPDATE"
        " SET lease = excluded.lease, lease_until = excluded.lease_until,"
        " taken_time = excluded.taken_time",
        lease=claim.lease,
        court=COURT,
    )
    return claim


def _record(database: Database, claim: ListingClaim, documents: int) -> RecordedListing:
    listing = factories.listing_import(claim.process_number, factories.listing(documents))
    return listing_record.record(database, claim, replace(listing, listed_time=None))


def _court(database: Database) -> Row:
    with database.transaction() as transaction:
        return transaction.only("SELECT * FROM courts WHERE court = %(court)s", court=COURT)


def _portal(database: Database) -> Row:
    with database.transaction() as transaction:
        return transaction.only("SELECT * FROM portal")


def _held_slots(database: Database, lease: UUID) -> int:
    with database.transaction() as transaction:
        return len(transaction.all("SELECT FROM slots WHERE lease = %(lease)s", lease=lease))


def _make_portal_slow(database: Database) -> None:
    """Open the court's circuit, with a slow start that allows one more request per answer."""
    factories.execute(
        database,
        "INSERT INTO courts (court, failure_count, failing_since, next_probe_time)"
        " VALUES (%(court)s, 4, now(), now())",
        court=COURT,
    )
    factories.execute(database, "UPDATE portal SET eased = 1, eased_to = 9, eased_fast_to = 4")


@pytest.mark.parametrize("documents", [0, 3], ids=["nothing-to-fetch", "documents-to-fetch"])
def test_an_answer_ends_the_breaker_and_lets_a_slow_start_grow(
    database: Database, documents: int
) -> None:
    claim = _claim(database, is_copied=False)
    _make_portal_slow(database)

    recorded = _record(database, claim, documents)

    court, portal = _court(database), _portal(database)
    assert (court["failure_count"], court["next_probe_time"]) == (0, None)
    assert portal["eased"] == 2
    assert portal["good_time"] >= court["alive_time"]
    assert recorded.to_fetch == documents
    assert _held_slots(database, claim.lease) == 0


def test_a_slow_start_alone_lets_one_more_begin(database: Database) -> None:
    claim = _claim(database, is_copied=False)
    factories.execute(database, "UPDATE portal SET eased = 1, eased_to = 9, eased_fast_to = 4")

    _record(database, claim, 3)

    assert _portal(database)["eased"] == 2


def test_a_copied_listing_does_not_change_court_and_portal(database: Database) -> None:
    claim = _claim(database, is_copied=True)
    _make_portal_slow(database)
    before = _court(database), _portal(database)

    assert _record(database, claim, 3) == RecordedListing(to_fetch=3)
    assert (_court(database), _portal(database)) == before
    assert _held_slots(database, claim.lease) == 0


def test_an_answer_to_a_request_from_before_the_failures_does_not_end_the_breaker(
    database: Database,
) -> None:
    claim = _claim(database, is_copied=False)
    _make_portal_slow(database)
    factories.execute(database, "UPDATE courts SET failing_since = now() + interval '1 hour'")

    _record(database, claim, 3)

    assert _court(database)["failure_count"] == 4


def test_a_listing_that_is_recorded_again_frees_and_counts_nothing(database: Database) -> None:
    claim = _claim(database, is_copied=False)
    _record(database, claim, 3)
    _make_portal_slow(database)
    before = _court(database), _portal(database), factories.job(database, claim.job_id)

    assert _record(database, claim, 3) == RecordedListing(to_fetch=3)

    assert before == (_court(database), _portal(database), factories.job(database, claim.job_id))


def test_a_case_that_was_sealed_meanwhile_is_not_copied(database: Database) -> None:
    claim = _claim(database, is_copied=True)
    view, _ = factories.start(database, factories.request(claim.process_number, client="a third"))
    third = replace(claim, job_id=view.job.job_id, lease=uuid4())
    factories.execute(
        database,
        "UPDATE jobs SET listing_lease = %(lease)s, listing_lease_until = now() + interval '1 hour'"
        " WHERE job_id = %(job_id)s",
        lease=third.lease,
        job_id=third.job_id,
    )
    sealed = ListingImport.of("a third", claim.process_number, factories.listing(1))
    listing_record.record(database, third, replace(sealed, secrecy_level=5))

    with pytest.raises(LeaseLost):
        _record(database, claim, 3)

    assert factories.documents(database, claim.job_id) == []
    assert factories.listing_claim(database, claim.job_id).listed_by is None
