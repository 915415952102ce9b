"""Test with a portal that refuses the cases of one client, and then those of all."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from storage.login.login_values import Login
from storage.portal.outcomes import RefusedScope
from storage.portal.request_claims import ClaimRefusal, claim
from storage.postgres.database import Database
from tests.integration.harness import factories
from tests.integration.harness.pipeline_harness import PipelineHarness
from tests.integration.harness.token_sources import portal_with, settings, static

TOKEN = "given"


def _begin(pipeline: PipelineHarness, client: str, fault: str | None = None) -> UUID:
    return pipeline.begin(pipeline.sandbox.add_case(documents=2, list_fault=fault), client)


def _stop_of(pipeline: PipelineHarness, job_id: UUID) -> RefusedScope | None:
    """Return the scope that stops a job that is not listed, None if it would be listed now."""
    found = claim(pipeline.database, pipeline.worker.context, job_id)
    return found.scope if isinstance(found, ClaimRefusal) else None


def _is_served(pipeline: PipelineHarness, client: str) -> bool:
    """Begin a job of a client. Return whether its case is listed at once."""
    job_id = _begin(pipeline, client)
    pipeline.list_job(job_id)
    return factories.job(pipeline.database, job_id)["listed_time"] is not None


def test_the_firewalls_page_stops_a_client_and_then_all(pipeline: PipelineHarness) -> None:
    # Given two clients with running jobs, and the firewall's page for cases of one
    others = [_begin(pipeline, client) for client in ("alpha", "beta", "gamma")]
    pipeline.list_job(_begin(pipeline, "alpha", "firewall"))
    assert _stop_of(pipeline, others[0]) is RefusedScope.CLIENT
    assert _is_served(pipeline, "beta")

    # When the firewall refuses two clients in a row, then no request is made
    for client in ("beta", "gamma"):
        pipeline.list_job(_begin(pipeline, client, "firewall"))
    asked = len(pipeline.sandbox.requests)
    assert {_stop_of(pipeline, job_id) for job_id in others} == {RefusedScope.PORTAL}
    pipeline.work()
    assert len(pipeline.sandbox.requests) == asked


def test_a_401_in_unknown_words_stops_a_client_and_then_all(
    pipeline: PipelineHarness, database: Database
) -> None:
    # Given the token of the settings, and two clients with running jobs
    pipeline.sandbox.accepts = TOKEN.__eq__
    portal = portal_with(pipeline.sandbox.url, static(database, TOKEN))
    fetcher = replace(pipeline.slices.fetcher, portal=portal)
    pipeline = pipeline.with_lister(portal=portal).with_slices(fetcher=fetcher)
    context = replace(pipeline.worker.context, login=Login.of(settings(PDPJ_TOKEN=TOKEN)))
    pipeline = replace(pipeline, worker=replace(pipeline.worker, context=context))
    others = [_begin(pipeline, client) for client in ("alpha", "beta", "gamma")]

    # When the portal rejects cases of one client, then the others go on, and a good answer decides
    for _ in range(2):
        pipeline.list_job(_begin(pipeline, "alpha", "expired-token"))
    assert _stop_of(pipeline, others[0]) is RefusedScope.CLIENT
    assert _is_served(pipeline, "beta")
    assert _is_served(pipeline, "alpha")

    # When it rejects the token, then the second client's case stops all
    pipeline.sandbox.accepts = "another".__eq__
    for client in ("alpha", "beta"):
        pipeline.list_job(_begin(pipeline, client))
    asked = len(pipeline.sandbox.requests)
    assert {_stop_of(pipeline, job_id) for job_id in others} == {RefusedScope.PORTAL}
    pipeline.work()
    assert len(pipeline.sandbox.requests) == asked
    portal.close()
