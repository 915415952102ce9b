"""Many StartDownloads in one step are what they would be one by one."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from functools import partial
from uuid import uuid4

import pytest

from proto import downloads_pb2 as pb
from storage import jobs, starts
from storage.database import Database
from storage.jobs import StartRequest
from storage.objects import Objects
from storage.priorities import Priority
from storage.records import JobView
from tests.integration import scenes
from tests.integration.front_door import api_of, opened_door, service_parts
from tests.integration.together import together
from tests.sandbox import cnj

DEADLINE_S = 3_600


def _fresh(database: Database, *requests: StartRequest) -> list[JobView | None]:
    return starts.start_fresh(database, requests, job_deadline_s=DEADLINE_S)


def _told(view: JobView) -> dict[str, object]:
    """A job, less what is its own."""
    own = {"job_id", "process_number", "create_time", "update_time", "start_time"}
    told = {name: value for name, value in asdict(view.job).items() if name not in own}
    return {**told, "has_begun": view.job.start_time is not None}


def test_new_jobs_are_those_that_a_call_by_itself_makes(database: Database) -> None:
    kinds = [
        scenes.request(),
        scenes.request(webhook_url="https://example.com/a"),
        scenes.request(request_id=uuid4(), priority=Priority.HIGH),
        scenes.request(client="another", max_age_s=0, traceparent=f"00-{'a' * 32}-{'b' * 16}-01"),
        scenes.request(webhook_url="https://example.com/b", priority=Priority.BULK),
    ]
    alone = [
        jobs.start(
            database,
            replace(kind, process_number=scenes.process_number(), request_id=None),
            job_deadline_s=DEADLINE_S,
            known=None,
        )[0]
        for kind in kinds
    ]

    together_ = _fresh(database, *kinds)

    for one, view, kind in zip(alone, together_, kinds, strict=True):
        assert view
        assert view == jobs.get(database, kind.client, view.job.job_id), "as it is in the rows"
        assert _told(view) == _told(one)
        hooks = [replace(hook, job_id=one.job.job_id) for hook in view.webhooks]
        assert hooks == list(one.webhooks)
        turns = [scenes.turn(database, each.job.job_id) for each in (one, view)]
        assert turns[0] == turns[1]


def test_what_is_there_already_is_left_to_a_closer_look(database: Database) -> None:
    running, known = scenes.request(), scenes.request(request_id=uuid4())
    scenes.start(database, running)
    scenes.start(database, known)
    listed = scenes.process_number()
    scenes.store_next(database, scenes.listed_job(database, 1, scenes.request(listed)))

    found = _fresh(
        database,
        running,
        replace(known, process_number=scenes.process_number()),
        scenes.request(listed, max_age_s=3_600),
        scenes.request(listed, max_age_s=0),
    )

    assert [view is not None for view in found] == [False, False, False, True]


def test_a_case_or_a_request_that_comes_twice_at_once_gets_one_job(database: Database) -> None:
    number, request_id = scenes.process_number(), uuid4()
    twice = [scenes.request(number), scenes.request(number)]
    again = [scenes.request(request_id=request_id), scenes.request(request_id=request_id)]

    found = _fresh(database, *twice, *again)

    assert [view is not None for view in found] in (
        [True, False, True, False],
        [True, False, False, True],
    )


def test_processes_that_start_the_same_cases_do_not_wait_for_each_other(database: Database) -> None:
    wanted = [scenes.request() for _ in range(30)]

    found = together(
        [partial(_fresh, database, *wanted), partial(_fresh, database, *reversed(wanted))] * 3
    )

    made = [view.job.process_number for views in found for view in views if view]
    assert sorted(made) == sorted(request.process_number for request in wanted)


def test_no_more_jobs_than_a_client_may_have(database: Database) -> None:
    found = _fresh(database, *(scenes.request(jobs_at_once=3) for _ in range(8)))

    assert sum(view is not None for view in found) <= 3
    with database.transaction() as transaction:
        seats = transaction.all("SELECT seat FROM jobs WHERE end_time IS NULL")
    assert {row["seat"] for row in seats} <= {1, 2, 3}


def test_batches_of_a_client_do_not_wait_for_each_others_seats(database: Database) -> None:
    def start() -> list[JobView | None]:
        return _fresh(database, *(scenes.request(jobs_at_once=200) for _ in range(40)))

    # A deadlock would be one's error.
    found = together([start] * 3)

    assert [view is not None for views in found for view in views] == [True] * 120


def test_of_jobs_that_start_together_the_first_is_served_first(database: Database) -> None:
    views = _fresh(database, *(scenes.request() for _ in range(12)))

    with database.transaction() as transaction:
        rows = transaction.all("SELECT job_id FROM turns ORDER BY number")
    assert [row["job_id"] for row in rows] == [view.job.job_id for view in views if view]


def test_calls_that_come_together_are_begun_a_few_at_a_time(
    database: Database, objects: Objects, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = starts.start_fresh

    def noted(database: Database, requests: list[StartRequest], **more: int) -> object:
        sizes.append(len(requests))
        return real(database, requests, **more)

    monkeypatch.setattr(starts, "start_fresh", noted)
    monkeypatch.setattr("server.starting.STARTS_TOGETHER", 3)

    async def scenario() -> list[pb.StartDownloadResponse]:
        with service_parts(database, objects, redis_url) as parts:
            async with opened_door(parts) as door, api_of(door.address) as api:
                numbers = [cnj.process_number(i, 2025, "8.26", "0100") for i in range(1, 21)]
                calls = [
                    api.StartDownload(pb.StartDownloadRequest(process_number=number))
                    for number in numbers
                ]
                return list(await asyncio.gather(*calls))

    answers = asyncio.run(scenario())

    assert all(answer.created for answer in answers)
    assert len({answer.job.job_id for answer in answers}) == 20
    assert sum(sizes) == 20
    assert max(sizes) <= 3
