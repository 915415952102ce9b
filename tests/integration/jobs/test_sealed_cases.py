"""A job that refuses sealed cases gets nothing of one, and what was sealed is not shared again."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from storage.event_counters import JOBS_ENDED
from storage.jobs import job_queries
from storage.listings import listing_record
from storage.listings.listed_case import CaseListing, ListedDocument
from storage.listings.listing_import import ListingImport
from storage.postgres.database import Database, Row
from tests.integration.harness import factories
from tests.integration.harness.factories import CLIENT, HOOK
from tests.integration.harness.pipeline_harness import PipelineHarness
from tests.sandbox.court_cases.cases import CASES

NAME = "Laudo de Fulano.pdf"


def _documents(*levels: str) -> tuple[ListedDocument, ...]:
    return tuple(
        factories.listed(place, name=NAME, secrecy_level=level)
        for place, level in enumerate(levels)
    )


# Each level of secrecy of docs/reference/portal.md, and unknown ones.
SEALED = {
    "a sealed case": CaseListing(1, _documents("PUBLICO")),
    "the highest level": CaseListing(5, _documents("PUBLICO")),
    "a case without a level": CaseListing(None, _documents("PUBLICO")),
    "a sealed case without documents": CaseListing(1, ()),
    "one sealed document": CaseListing(0, _documents("PUBLICO", "SIGILO_MINIMO")),
    "a document in secrecy of justice": CaseListing(0, _documents("SEGREDO_JUSTICA")),
    "a document without a level": CaseListing(0, _documents("PUBLICO", "")),
    "a level that is not known": CaseListing(0, _documents("RESTRITO")),
}
PUBLIC = {
    "a public case": CaseListing(0, _documents("PUBLICO", "PUBLICO")),
    "a public case without documents": CaseListing(0, ()),
}


def _listed(database: Database, case: CaseListing, client: str = CLIENT, **values: Any) -> UUID:
    """A job whose case the portal listed."""
    view, _ = factories.start(database, factories.request(client=client, max_age_s=0, **values))
    claim = factories.listing_claim(database, view.job.job_id)
    assert claim.listed_by is None
    listing_record.record(database, claim, ListingImport.of(client, claim.process_number, case))
    return claim.job_id


def _marked(database: Database, number: str) -> list[Row]:
    with database.transaction() as transaction:
        return transaction.all("SELECT * FROM case_secrecy WHERE process_number = %(n)s", n=number)


@pytest.mark.parametrize("case", SEALED.values(), ids=SEALED)
def test_a_job_that_refuses_sealed_cases_shows_nothing_of_one(
    database: Database, case: CaseListing
) -> None:
    job_id = _listed(database, case, refuses_sealed=True, webhook_url=HOOK)

    job = factories.job(database, job_id)
    assert (job["state"], job["error_reason"]) == ("FAILED", "SEALED")
    assert job["error_is_retryable"] is False
    assert job["total_documents"] is None
    assert job["listed_time"] is None
    assert job["secrecy_level"] is None
    assert factories.documents(database, job_id) == []
    [event] = factories.events(database, job_id)
    assert event["documents"] == []
    assert NAME not in json.dumps(event["job"])
    assert [hook["state"] for hook in factories.webhooks(database, job_id)] == ["PENDING"]


@pytest.mark.parametrize("case", SEALED.values(), ids=SEALED)
def test_a_job_that_fetches_sealed_cases_gets_it(database: Database, case: CaseListing) -> None:
    job_id = _listed(database, case)

    assert len(factories.documents(database, job_id)) == len(case.documents)


@pytest.mark.parametrize("case", PUBLIC.values(), ids=PUBLIC)
def test_a_public_case_is_not_refused(database: Database, case: CaseListing) -> None:
    job_id = _listed(database, case, refuses_sealed=True)

    assert len(factories.documents(database, job_id)) == len(case.documents)
    assert factories.job(database, job_id)["error_reason"] is None
    assert _marked(database, factories.job(database, job_id)["process_number"]) == []


def test_a_refusal_is_counted_as_one_end_and_no_document(database: Database) -> None:
    counted: list[tuple[object, ...]] = []
    database.counted = lambda *what, **_: counted.append(what)  # type: ignore[method-assign]

    _listed(database, SEALED["one sealed document"], refuses_sealed=True)

    assert counted == [(JOBS_ENDED, "FAILED")]


def test_a_seal_that_only_a_refused_job_saw_ends_the_sharing(database: Database) -> None:
    number = factories.process_number()
    waiting = [
        factories.start(database, factories.request(number, client=client))[0].job.job_id
        for client in ("one", "two")
    ]
    public = _listed(database, PUBLIC["a public case"], process_number=number)
    assert factories.listing_claim(database, waiting[0]).listed_by == public

    _listed(
        database, SEALED["a sealed case"], "a third", process_number=number, refuses_sealed=True
    )

    assert factories.listing_claim(database, waiting[1]).listed_by is None
    assert _marked(database, number)[0]["sealed_time"]


def test_the_first_seal_stays(database: Database) -> None:
    number = factories.process_number()
    job_id = _listed(database, SEALED["a sealed case"], process_number=number)
    first = _marked(database, number)
    job_queries.cancel(database, CLIENT, job_id)

    _listed(database, SEALED["one sealed document"], process_number=number)

    assert _marked(database, number) == first


def test_a_recent_listing_of_its_own_is_refused_too(database: Database) -> None:
    """Listed while the client might still fetch sealed cases."""
    number = factories.process_number()
    earlier = _listed(database, SEALED["one sealed document"], process_number=number)
    job_queries.cancel(database, CLIENT, earlier)
    recent = factories.recent_listing(database, number, max_age_s=3_600)
    assert recent

    view, is_new = factories.start(database, factories.request(number, refuses_sealed=True), recent)

    assert is_new
    assert (view.job.state, view.job.error_reason) == ("FAILED", "SEALED")
    assert factories.documents(database, view.job.job_id) == []


@pytest.mark.parametrize("slug", ["sealed", "sealed-case"])
def test_nothing_of_a_refused_case_is_requested(pipeline: PipelineHarness, slug: str) -> None:
    number = CASES[slug].number
    wanted = factories.request(number, max_age_s=0, refuses_sealed=True)
    view, _ = factories.start(pipeline.database, wanted)

    pipeline.work()

    job = factories.job(pipeline.database, view.job.job_id)
    assert (job["state"], job["error_reason"]) == ("FAILED", "SEALED")
    assert pipeline.sandbox.request_count(number) == 1
    assert set(pipeline.requested_files(number)) <= {0}
