"""Test that a job fetches what its callers want of a case, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from actors.hints.hints import JobWanted
from autos.downloads.v1 import downloads_pb2 as pb
from server.dependencies import ServerDependencies
from server.rpc.service import DownloadService
from storage.errors import InvalidRequest, LimitReached, PreconditionFailed
from storage.jobs import job_queries, widening
from storage.jobs.job_queries import JobFilter
from storage.objects.object_store import Objects
from storage.portal.listing_claims import ListingClaim
from storage.portal.outcomes import RefusedScope
from storage.portal.request_claims import ClaimRefusal, claim, claim_any
from storage.postgres.database import Database
from storage.postgres.page_bytes import PAGE_BYTES
from storage.scheduling import reconciliation, scheduler_readings
from storage.scheduling.scheduler_readings import job_row
from storage.selections.selection import NOTHING
from tests.integration.harness import factories
from tests.integration.harness.factories import CLIENT
from tests.integration.harness.grpc_server import service_parts
from tests.integration.harness.pipeline_harness import PipelineHarness


@dataclass(frozen=True)
class _Desk:
    """The server's StartDownload on a pipeline's servers."""

    parts: ServerDependencies

    def start(self, number: str, **fields: Any) -> pb.StartDownloadResponse:
        """Call StartDownload."""
        return asyncio.run(self._start(pb.StartDownloadRequest(process_number=number, **fields)))

    async def _start(self, request: pb.StartDownloadRequest) -> pb.StartDownloadResponse:
        service = DownloadService(self.parts)
        context: Any = grpc.aio.ServicerContext
        answer = await service.StartDownload(request, context)
        await service.settled()
        return answer


@pytest.fixture
def desk(pipeline: PipelineHarness, objects: Objects, redis_url: str) -> Iterator[_Desk]:
    """Return the server's StartDownload."""
    with service_parts(pipeline.database, objects, redis_url) as parts:
        # A bound for a slow machine.
        yield _Desk(replace(parts, messages=pipeline.messages, reuse_limit_s=60))


def _ids(pipeline: PipelineHarness, number: str) -> list[str]:
    """Return the ids of a case's documents in the order of the case file, by a look."""
    job_id = factories.start(
        pipeline.database, factories.request(number, wants=NOTHING, max_age_s=0)
    )[0].job.job_id
    pipeline.work()
    return [str(row["document_id"]) for row in factories.documents(pipeline.database, job_id)]


def _states(pipeline: PipelineHarness, job_id: str) -> list[str]:
    return [row["state"] for row in factories.documents(pipeline.database, UUID(job_id))]


def _only(*document_ids: str) -> pb.Selection:
    return pb.Selection(document_ids=document_ids)


def test_a_call_that_joins_adds_its_selection(pipeline: PipelineHarness, desk: _Desk) -> None:
    number = pipeline.sandbox.add_case(documents=3)
    ids = _ids(pipeline, number)
    job = desk.start(number, selection=_only(ids[0])).job
    pipeline.list_job(UUID(job.job_id))
    assert _states(pipeline, job.job_id) == ["PENDING", "SKIPPED", "SKIPPED"]
    pipeline.hinted()

    joined = desk.start(number, selection=_only(ids[2]))

    assert not joined.created
    assert joined.job.job_id == job.job_id
    assert [list(each.document_ids) for each in joined.job.selections] == [[ids[0]], [ids[2]]]
    assert joined.job.progress.skipped_documents == 1
    assert _states(pipeline, job.job_id) == ["PENDING", "SKIPPED", "PENDING"]
    assert any(isinstance(hint, JobWanted) for hint in pipeline.hinted())
    again = desk.start(number, selection=_only(ids[2])).job
    assert again.revision == joined.job.revision
    pipeline.work()
    ended = factories.job(pipeline.database, UUID(job.job_id))
    assert (ended["state"], ended["completed_documents"]) == ("COMPLETED", 2)
    assert pipeline.requested_files(number) == [1, 0, 1]
    assert pipeline.sandbox.request_count(number) == 1


def test_a_join_during_the_listing_counts(pipeline: PipelineHarness, desk: _Desk) -> None:
    number = pipeline.sandbox.add_case(documents=3)
    ids = _ids(pipeline, number)
    job = desk.start(number, list_only=True, max_age={"seconds": 0}).job
    listing = claim(pipeline.database, pipeline.worker.context, UUID(job.job_id))
    assert isinstance(listing, ListingClaim)

    desk.start(number, selection=_only(ids[1], ids[2]))
    pipeline.lister.list_case(listing, proposal_id=None)

    assert _states(pipeline, job.job_id) == ["SKIPPED", "PENDING", "PENDING"]
    assert pipeline.sandbox.request_count(number) == 2


def test_a_plain_call_makes_a_look_fetch(pipeline: PipelineHarness, desk: _Desk) -> None:
    number = pipeline.sandbox.add_case(documents=2)
    look = desk.start(number, list_only=True).job

    joined = desk.start(number)
    pipeline.work()

    assert (look.list_only, joined.job.list_only) == (True, False)
    assert joined.job.job_id == look.job_id
    assert _states(pipeline, look.job_id) == ["AVAILABLE"] * 2


def test_a_look_that_joins_takes_nothing_away(pipeline: PipelineHarness, desk: _Desk) -> None:
    number = pipeline.sandbox.add_case(documents=2)
    job = desk.start(number).job

    joined = desk.start(number, list_only=True).job

    assert (joined.job_id, joined.revision, joined.list_only) == (job.job_id, job.revision, False)


def test_what_another_job_stored_is_not_fetched_again(
    pipeline: PipelineHarness, desk: _Desk
) -> None:
    number = pipeline.sandbox.add_case(documents=3)
    ids = _ids(pipeline, number)
    desk.start(number, selection=_only(ids[0]))
    pipeline.work()
    job = desk.start(number, selection=_only(ids[1]), max_age={"seconds": 0}).job
    pipeline.list_job(UUID(job.job_id))

    joined = desk.start(number, selection=_only(ids[0])).job

    assert _states(pipeline, job.job_id) == ["AVAILABLE", "PENDING", "SKIPPED"]
    assert (joined.progress.completed_documents, joined.progress.reused_documents) == (1, 1)
    pipeline.work()
    wider = desk.start(number, selection=_only(*ids)).job
    pipeline.work()
    assert wider.job_id != job.job_id
    row = factories.job(pipeline.database, UUID(wider.job_id))
    assert (row["completed_documents"], row["reused_documents"]) == (3, 2)
    assert pipeline.requested_files(number) == [1, 1, 1]


def test_a_wanted_document_without_a_link_fails_at_once(
    pipeline: PipelineHarness, desk: _Desk
) -> None:
    number = pipeline.sandbox.add_case(documents=3, faults={1: "foreign-href"})
    ids = _ids(pipeline, number)
    job = desk.start(number, selection=_only(ids[0])).job
    pipeline.list_job(UUID(job.job_id))

    joined = desk.start(number, selection=_only(ids[1])).job

    assert joined.progress.failed_documents == 1
    found = factories.documents(pipeline.database, UUID(job.job_id))
    assert [(row["state"], row["error_reason"]) for row in found] == [
        ("PENDING", None),
        ("FAILED", "UNTRUSTED_LINK"),
        ("SKIPPED", None),
    ]


def test_ends_by_a_caller_or_the_deadline_leave_skipped_documents_alone(
    pipeline: PipelineHarness, desk: _Desk
) -> None:
    database = pipeline.database
    number = pipeline.sandbox.add_case(documents=3)
    ids = _ids(pipeline, number)
    job = desk.start(number, selection=_only(ids[0])).job
    pipeline.list_job(UUID(job.job_id))
    job_queries.cancel(database, CLIENT, UUID(job.job_id))
    assert _states(pipeline, job.job_id) == ["CANCELLED", "SKIPPED", "SKIPPED"]

    late = desk.start(number, selection=_only(ids[1])).job
    pipeline.list_job(UUID(late.job_id))
    factories.age(database, UUID(late.job_id), 4_000)
    reconciliation.time_out(database)

    assert _states(pipeline, late.job_id) == ["SKIPPED", "FAILED", "SKIPPED"]
    ended = factories.job(database, UUID(late.job_id))
    assert (ended["state"], ended["skipped_documents"]) == ("FAILED", 2)
    assert ended["error_message"].startswith("None of the 1 documents")


def test_a_retry_fetches_failed_documents_and_no_skipped_ones(
    pipeline: PipelineHarness, desk: _Desk
) -> None:
    number = pipeline.sandbox.add_case(documents=3, faults={0: "file-404"})
    ids = _ids(pipeline, number)
    job = desk.start(number, selection=_only(ids[0], ids[1])).job
    pipeline.work()
    assert _states(pipeline, job.job_id) == ["FAILED", "AVAILABLE", "SKIPPED"]

    factories.rerun(pipeline.database, pipeline.lister.objects, UUID(job.job_id))

    assert _states(pipeline, job.job_id) == ["PENDING", "AVAILABLE", "SKIPPED"]
    look = desk.start(pipeline.sandbox.add_case(documents=1), list_only=True).job
    pipeline.work()
    with pytest.raises(PreconditionFailed) as refused:
        factories.rerun(pipeline.database, pipeline.lister.objects, UUID(look.job_id))
    assert refused.value.reason == "NOTHING_TO_RETRY"


def test_ids_that_the_case_does_not_have_are_named(pipeline: PipelineHarness, desk: _Desk) -> None:
    number = pipeline.sandbox.add_case(documents=1)
    ids = _ids(pipeline, number)
    missing = "11111111-1111-1111-1111-111111111111"

    job = desk.start(number, selection=_only(ids[0], missing)).job
    pipeline.work()

    found = job_queries.get(pipeline.database, CLIENT, UUID(job.job_id)).job
    assert list(map(str, found.unlisted_document_ids)) == [missing]
    assert found.state == "COMPLETED"


def test_no_client_widens_the_job_of_another(pipeline: PipelineHarness, desk: _Desk) -> None:
    number = pipeline.sandbox.add_case(documents=2)
    job = desk.start(number, list_only=True).job
    wanted = factories.request(number, client="other")

    widening.widen(pipeline.database, pipeline.lister.objects, wanted, UUID(job.job_id), limit_s=60)

    after = job_queries.get(pipeline.database, CLIENT, UUID(job.job_id)).job
    assert (after.revision, after.selections) == (job.revision, [])


def test_a_second_look_ends_in_its_call(pipeline: PipelineHarness, desk: _Desk) -> None:
    number = pipeline.sandbox.add_case(documents=2)
    _ids(pipeline, number)

    look = desk.start(number, list_only=True).job

    assert look.state == pb.JOB_STATE_COMPLETED
    assert look.progress.skipped_documents == 2
    assert pipeline.sandbox.request_count(number) == 1


def test_a_job_has_so_many_selections_at_most(pipeline: PipelineHarness, desk: _Desk) -> None:
    number = pipeline.sandbox.add_case(documents=1)
    for size in range(1, widening.MOST_SELECTIONS + 1):
        job = desk.start(number, selection=pb.Selection(max_size_bytes=size)).job

    with pytest.raises(InvalidRequest) as refused:
        desk.start(number, selection=pb.Selection(max_size_bytes=1_000))

    assert [each.field for each in refused.value.violations] == ["selection"]
    after = job_queries.get(pipeline.database, CLIENT, UUID(job.job_id)).job
    assert after.revision == job.revision


def test_jobs_are_found_by_all_of_their_labels_and_by_their_time(
    pipeline: PipelineHarness, desk: _Desk
) -> None:
    database = pipeline.database
    jobs = [
        desk.start(pipeline.sandbox.add_case(documents=1), labels=labels).job
        for labels in ({"a": "1", "b": "1"}, {"a": "1"}, {"a": "2", "b": "1"}, {})
    ]
    other = factories.start(database, factories.request(client="other", labels={"a": "1"}))[0].job

    def found(**values: Any) -> list[int | None]:
        ids = {job.job_id: place for place, job in enumerate(jobs)}
        page = job_queries.page(database, JobFilter(CLIENT, **values), 10)[0]
        return [ids.get(str(view.job.job_id)) for view in page]

    assert found(labels={"a": "1"}) == [1, 0]
    assert found(labels={"a": "1", "b": "1"}) == [0]
    assert found(labels={"c": "1"}) == []
    times = [job.create_time.ToDatetime(UTC) for job in jobs]
    assert found(created_from=times[1], created_to=times[3]) == [2, 1]
    assert found(labels={"a": "1"}, created_to=times[1]) == [0]
    last = job_queries.get(database, CLIENT, UUID(jobs[1].job_id)).job
    assert found(labels={"a": "1"}, after=(last.create_time, last.job_id)) == [0]
    # No client finds the jobs of another one.
    assert [v.job.job_id for v in job_queries.page(database, JobFilter("other"), 10)[0]] == [
        other.job_id
    ]


def test_a_call_that_joins_adds_its_labels_and_is_found_by_them(
    pipeline: PipelineHarness, desk: _Desk
) -> None:
    number = pipeline.sandbox.add_case(documents=1)
    desk.start(number, labels={"a": "1", "b": "1"})

    joined = desk.start(number, labels={"b": "2", "c": "3"}).job

    assert dict(joined.labels) == {"a": "1", "b": "2", "c": "3"}
    for labels, count in (({"b": "1"}, 0), ({"a": "1", "b": "2", "c": "3"}, 1)):
        assert (
            len(job_queries.page(pipeline.database, JobFilter(CLIENT, labels=labels), 9)[0])
            == count
        )
    again = desk.start(number, labels={"c": "3"}).job
    assert again.revision == joined.revision
    for batch in range(3):
        desk.start(number, labels={f"{batch}.{n}": "v" for n in range(16)})
    with pytest.raises(InvalidRequest) as refused:
        desk.start(number, labels={f"x.{n}": "v" for n in range(16)})
    assert [each.field for each in refused.value.violations] == ["labels"]


def test_a_call_that_is_refused_does_not_widen_the_job(
    pipeline: PipelineHarness, desk: _Desk
) -> None:
    number = pipeline.sandbox.add_case(documents=2)
    ids = _ids(pipeline, number)
    for batch in range(4):
        labels = {f"{batch}.{n}": "v" for n in range(16)}
        desk.start(number, selection=_only(ids[0]), labels=labels)
    for n in range(10):
        job = desk.start(
            number, selection=_only(ids[0]), webhook_url=f"https://receiver.com.br/{n}"
        ).job

    with pytest.raises(InvalidRequest):
        desk.start(number, selection=_only(*ids), labels={"one.more": "v"})
    with pytest.raises(LimitReached):
        desk.start(number, selection=_only(*ids), webhook_url="https://receiver.com.br/more")

    after = job_queries.get(pipeline.database, CLIENT, UUID(job.job_id)).job
    assert (after.revision, len(after.selections or ())) == (job.revision, 1)


def test_a_retention_only_grows(pipeline: PipelineHarness, desk: _Desk) -> None:
    number, days = pipeline.sandbox.add_case(documents=1), 86_400
    job_id = UUID(desk.start(number, retention={"seconds": 5 * days}).job.job_id)

    kept = []
    for given in ({"seconds": 3 * days}, {"seconds": 9 * days}):
        desk.start(number, retention=given)
        kept.append(factories.job(pipeline.database, job_id)["retention_s"])

    assert kept == [5 * days, 9 * days]


def test_a_page_of_jobs_with_long_selections_is_shorter(database: Database) -> None:
    made = [factories.start(database)[0].job.job_id for _ in range(9)]
    factories.execute(
        database,
        "UPDATE jobs SET selections = jsonb_build_array(jsonb_build_object('document_ids',"
        " (SELECT jsonb_agg(gen_random_uuid()) FROM generate_series(1, 10000))))"
        " WHERE job_id <> %(light)s",
        light=made[-1],
    )

    found: list[UUID] = []
    after, pages, has_more = None, 0, True
    while has_more:
        views, has_more = job_queries.page(database, JobFilter(CLIENT, after=after), 50)
        assert sum(len(str(view.job.selections)) for view in views) < 5 * PAGE_BYTES
        found += [view.job.job_id for view in views]
        after, pages = (views[-1].job.create_time, views[-1].job.job_id), pages + 1

    assert found == made[::-1]
    assert pages > 1


def test_the_selections_of_a_job_have_so_many_characters_at_most(
    pipeline: PipelineHarness, desk: _Desk
) -> None:
    number = pipeline.sandbox.add_case(documents=1)

    def start(letter: str) -> pb.StartDownloadResponse:
        kinds = [f"{n:03}" + letter * 990 for n in range(100)]
        return desk.start(number, selection=pb.Selection(kinds=kinds, instances=kinds))

    for letter in "abcde":
        start(letter)
    with pytest.raises(InvalidRequest) as refused:
        start("f")

    assert [each.field for each in refused.value.violations] == ["selection"]


def _in(seconds: float) -> Timestamp:
    moment = Timestamp()
    moment.FromDatetime(datetime.now(UTC) + timedelta(seconds=seconds))
    return moment


def test_the_portal_is_not_requested_before_the_jobs_time(
    pipeline: PipelineHarness, desk: _Desk
) -> None:
    database = pipeline.database
    number = pipeline.sandbox.add_case(documents=1)
    begin = _in(3_600)

    job = desk.start(number, not_before_time=begin).job
    job_id = UUID(job.job_id)

    assert (job.hold.reason, job.hold.until_time, job.not_before_time) == (
        "NOT_BEFORE",
        begin,
        begin,
    )
    assert not job.HasField("queue_position")
    refused = claim(database, pipeline.worker.context, job_id)
    assert isinstance(refused, ClaimRefusal)
    assert (refused.scope, refused.reason) == (RefusedScope.JOB, "WAITING")
    assert refused.until_time == begin.ToDatetime(UTC)
    refused = claim_any(database, pipeline.worker.context)
    assert isinstance(refused, ClaimRefusal)
    assert refused.reason == "NOTHING"
    row = factories.job(database, job_id)
    assert (row["deadline_time"] - begin.ToDatetime(UTC)).total_seconds() == 3_600
    [hint] = [hint for hint in pipeline.hinted() if isinstance(hint, JobWanted)]
    read = scheduler_readings.read_job(database, job_id)
    assert read is not None
    for memory in (hint.job, job_row(read)):
        assert memory.listing_not_before == begin.ToDatetime(UTC).timestamp()
    pipeline.work()
    assert pipeline.sandbox.request_count(number) == 0


def test_a_job_with_a_later_time_does_not_end_with_the_listing_of_today(
    pipeline: PipelineHarness, desk: _Desk
) -> None:
    number = pipeline.sandbox.add_case(documents=1)
    desk.start(number)
    pipeline.work()

    job = desk.start(number, not_before_time=_in(3_600)).job

    assert (job.state, job.hold.reason) == (pb.JOB_STATE_PROCESSING, "NOT_BEFORE")
    # The listing is old when the time has come.
    job_id = UUID(job.job_id)
    listed = "UPDATE jobs SET listed_time = listed_time - interval '2 hours'"
    factories.execute(pipeline.database, listed)
    factories.execute(
        pipeline.database,
        "UPDATE jobs SET not_before_time = now() - interval '1 s' WHERE job_id = %(id)s",
        id=job_id,
    )
    pipeline.work()
    assert pipeline.sandbox.request_count(number) == 2
    assert _states(pipeline, job.job_id) == ["AVAILABLE"]


def test_a_call_that_joins_moves_the_time_forward_and_never_back(
    pipeline: PipelineHarness, desk: _Desk
) -> None:
    number = pipeline.sandbox.add_case(documents=1)
    first, sooner = _in(7_200), _in(3_600)
    job_id = desk.start(number, not_before_time=first).job.job_id

    later = desk.start(number, not_before_time=_in(9_000)).job
    moved = desk.start(number, not_before_time=sooner).job
    row = factories.job(pipeline.database, UUID(job_id))
    now = desk.start(number).job

    assert (later.not_before_time, moved.not_before_time) == (first, sooner)
    assert (row["deadline_time"] - sooner.ToDatetime(UTC)).total_seconds() == 3_600
    assert (now.job_id, now.HasField("not_before_time"), now.hold.reason) == (job_id, False, "")
    pipeline.work()
    assert _states(pipeline, job_id) == ["AVAILABLE"]


def test_a_time_that_has_passed_delays_nothing(pipeline: PipelineHarness, desk: _Desk) -> None:
    number = pipeline.sandbox.add_case(documents=1)

    job = desk.start(number, not_before_time=_in(-90_000)).job
    reconciliation.time_out(pipeline.database)
    pipeline.work()

    assert job.hold.reason == ""
    assert _states(pipeline, job.job_id) == ["AVAILABLE"]
