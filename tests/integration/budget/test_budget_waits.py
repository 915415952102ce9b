"""Test that jobs over the budget of different cases are seen: hold, metrics, health."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

from grpc_health.v1 import health_pb2

from autos.cli.wording import usage_lines
from autos.downloads.v1 import downloads_pb2 as pb
from server.observability.row_metrics import RowMetrics
from server.part_health import BUDGET
from storage.health import gauges
from storage.health.holds import Hold, Holds
from storage.jobs import job_queries
from storage.objects.object_store import Objects
from storage.portal import case_budget
from storage.portal.case_budget import DAY_S, MARGIN_S, MONTH_S, CaseLimit
from storage.postgres.database import Database
from tests.integration.budget.test_case_budget import (
    COURT,
    OTHER_COURT,
    age_cases,
    begins,
    budget,
    job,
)
from tests.integration.harness import factories
from tests.integration.harness.factories import CLIENT, LOGIN
from tests.integration.harness.grpc_server import api_of, running_server, service_parts
from tests.integration.harness.scheduler_driver import LIMITS
from tests.integration.server.test_health import _health
from tests.integration.server.test_holds import _pause
from tests.integration.server.test_metrics import _samples

ONE_A_DAY = budget(CaseLimit(None, DAY_S, 1), CaseLimit(OTHER_COURT, MONTH_S, 1))


def _waiting(database: Database, court: str = COURT) -> UUID:
    """Use up the budget an hour ago. Return a job that waits for it."""
    assert begins(database, job(database, court), ONE_A_DAY)
    age_cases(database, 3_600)
    waiting = job(database, court)
    assert not begins(database, waiting, ONE_A_DAY)
    return waiting


def _hold(database: Database, job_id: UUID, court: str = COURT) -> Hold | None:
    return Holds(database, LOGIN, ONE_A_DAY).of({job_id: court}).get(job_id)


def _left(hold: Hold | None) -> timedelta:
    assert hold is not None
    assert hold.until_time is not None
    return hold.until_time - datetime.now(UTC)


def test_a_job_over_the_budget_is_held_until_the_budget_has_a_place(database: Database) -> None:
    listed, other = factories.listed_job(database, 3), job(database)
    waiting = _waiting(database)

    hold = _hold(database, waiting)

    assert hold is not None
    assert (hold.reason, "all courts" in hold.message) == ("CASE_BUDGET", True)
    assert timedelta(hours=22) < _left(hold) <= timedelta(hours=23, seconds=MARGIN_S)
    assert _hold(database, listed) is None
    assert _hold(database, other) is None
    age_cases(database, DAY_S)
    assert _left(_hold(database, waiting)) < timedelta(minutes=1)
    assert begins(database, waiting, ONE_A_DAY)
    assert _hold(database, waiting) is None


def test_the_hold_names_the_court_with_the_budget_and_lasts_as_long_as_both(
    database: Database,
) -> None:
    waiting = _waiting(database, OTHER_COURT)

    hold = _hold(database, waiting, OTHER_COURT)

    assert hold is not None
    assert f"court {OTHER_COURT} " in hold.message
    assert _left(hold) > timedelta(days=29)


def test_a_pause_of_the_portal_is_shown_before_the_budget(database: Database) -> None:
    waiting = _waiting(database)
    _pause(database, 300)

    hold = _hold(database, waiting)

    assert hold is not None
    assert hold.reason == "PORTAL_PAUSED"


def test_metrics_show_the_use_of_the_budget_and_the_jobs_that_wait_for_it(
    database: Database,
) -> None:
    _waiting(database)

    with closing(RowMetrics(partial(gauges.read, database, LIMITS, LOGIN, ONE_A_DAY))) as metrics:
        scraped = _samples(metrics)

    assert {name: value for name, value in scraped.items() if "budget" in name} == {
        "autos_jobs_over_budget": 1,
        "autos_case_budget_casesall1": 1,
        "autos_case_budget_limitall1": 1,
        f"autos_case_budget_cases{OTHER_COURT}30": 0,
        f"autos_case_budget_limit{OTHER_COURT}30": 1,
    }
    # It does not wait for the portal.
    assert (scraped["autos_jobs_waiting"], scraped["autos_queue_oldest_seconds"]) == (0, 0)


def test_usage_has_the_cases_of_all_clients_by_window_and_court(
    database: Database, objects: Objects, redis_url: str
) -> None:
    _waiting(database)

    async def usage() -> pb.GetUsageResponse:
        async with running_server(parts) as server, api_of(server.address) as api:
            answer: pb.GetUsageResponse = await api.GetUsage(pb.GetUsageRequest())
            return answer

    with service_parts(database, objects, redis_url) as without:
        parts = without
        assert not asyncio.run(usage()).HasField("case_budget")
        parts = replace(without, budget=ONE_A_DAY)
        used = asyncio.run(usage())

    court = pb.CourtCaseBudget(court=OTHER_COURT, cases_per_30_days_limit=1)
    assert used.case_budget == pb.CaseBudget(
        cases_last_day=1, cases_per_day_limit=1, cases_last_30_days=1, courts=[court]
    )
    lines = "\n".join(usage_lines(used))
    assert "cases     all courts: 1 of 1 in 24 h, 1 of any number in 30 days\n" in lines
    assert "cases     5.02: 0 of any number in 24 h, 0 of 1 in 30 days" in lines


def test_health_reports_the_budget_while_jobs_wait_for_it(database: Database) -> None:
    problems = partial(case_budget.troubles, database)
    assert problems() == []
    waiting = _waiting(database, OTHER_COURT)
    assert problems() == [f"Jobs wait for the budget of cases of court {OTHER_COURT}."]
    assert asyncio.run(_health(BUDGET, problems)) == health_pb2.HealthCheckResponse.NOT_SERVING

    job_queries.cancel(database, CLIENT, waiting)
    assert problems() == []
