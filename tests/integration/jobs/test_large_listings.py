"""Test large listings: a process holds the documents of one at a time until they are recorded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from actors.portal.listing_body import LARGE_DOCUMENTS, LARGE_VALUES, ListingTurn
from actors.resilience.exchange_deadline import Deadline, Watchdog
from storage.errors import ServiceUnavailable
from storage.listings import listing_record
from storage.listings.listing_import import ListingImport
from tests.integration.harness import factories
from tests.integration.harness.pipeline_harness import PipelineHarness
from tests.integration.harness.pipeline_hooks import HookedDatabase

# A listed document has at least so many values.
VALUES = 15


class _Impatient(Watchdog):
    """A watchdog whose exchanges have no time."""

    @contextlib.contextmanager
    def limit(self, limit_s: float) -> Iterator[Deadline]:
        """Return a deadline that has passed."""
        yield Deadline(min(limit_s, 0))


def _is_free(turn: ListingTurn) -> bool:
    with contextlib.suppress(ServiceUnavailable):
        turn.take(Deadline(1))
    return turn.is_taken


def test_a_large_listing_keeps_its_turn_until_it_is_recorded(
    pipeline: PipelineHarness, database_url: str
) -> None:
    number = pipeline.sandbox.add_case(documents=LARGE_VALUES // VALUES)
    turns, free = pipeline.lister.portal.listing_turns, list[bool]()

    def look(function: str, _: dict[str, Any]) -> None:
        if function.startswith("autos_record_listing"):
            with turns.turn() as turn:
                free.append(_is_free(turn))

    database = HookedDatabase(database_url, look)
    job_id = pipeline.begin(number)
    pipeline.with_lister(database=database).list_job(job_id)
    database.close()

    with turns.turn() as turn:
        free.append(_is_free(turn))
    assert free == [False, True]
    assert factories.job(pipeline.database, job_id)["total_documents"] == LARGE_VALUES // VALUES


def test_a_large_listing_without_a_turn_is_postponed_and_no_attempt_counts(
    pipeline: PipelineHarness,
) -> None:
    number = factories.process_number()
    first, second = (pipeline.begin(number, client) for client in ("client-1", "client-2"))
    claim = factories.listing_claim(pipeline.database, first)
    listing = ListingImport.of(claim.client, number, factories.listing(LARGE_DOCUMENTS + 1))
    listing_record.record(pipeline.database, claim, listing)
    impatient = pipeline.with_lister(watchdog=_Impatient())

    with pipeline.lister.portal.listing_turns.turn() as turn:
        turn.take(Deadline(60))
        impatient.list_job(second)

    job = factories.job(pipeline.database, second)
    assert (job["total_documents"], job["listing_attempt_count"]) == (None, 0)
    assert job["listing_not_before"] is not None
