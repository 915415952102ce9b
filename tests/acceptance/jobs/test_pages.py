"""Test that lists keep their promised order over pages, without gaps and repetitions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from autos.downloads.v1 import downloads_pb2 as pb
from tests.sandbox.court_cases.cases import CASES
from tests.system.job_calls import await_job, run, start
from tests.system.running_autos import Autos

WARM_JOBS = 501
MANY_DOCUMENTS = 1_001


@pytest.fixture(scope="module")
def warm_case(autos: Autos) -> str:
    """Return a case with more jobs than a page can hold; the newest of them was cancelled."""
    number = autos.portal.add_case(documents=1)
    run(autos, number)
    with ThreadPoolExecutor(8) as pool:
        jobs = list(pool.map(lambda _: start(autos, number), range(WARM_JOBS - 1)))
    assert all(job.created for job in jobs)
    return number


@pytest.fixture(scope="module")
def large_job(autos: Autos) -> pb.Job:
    """Return a cancelled job with more documents than a page can hold."""
    number = autos.portal.add_case(documents=MANY_DOCUMENTS, size=1_024)
    autos.portal.hold(number)
    job_id = start(autos, number).job.job_id
    await_job(autos, job_id, lambda job: job.progress.total_documents == MANY_DOCUMENTS)
    job: pb.Job = autos.api.CancelJob(pb.CancelJobRequest(job_id=job_id), timeout=60).job
    autos.portal.release(number)
    return job


def _pages(ask: Callable[[str], Any]) -> Iterator[Any]:
    """Return every page, from the first to the one without a token."""
    token = ""
    while True:
        page = ask(token)
        yield page
        token = page.next_page_token
        if not token:
            return


def _job_pages(autos: Autos, **fields: Any) -> Iterator[pb.ListJobsResponse]:
    return _pages(
        lambda token: autos.api.ListJobs(pb.ListJobsRequest(page_token=token, **fields), timeout=60)
    )


def _document_pages(autos: Autos, **fields: Any) -> Iterator[pb.ListDocumentsResponse]:
    return _pages(
        lambda token: autos.api.ListDocuments(
            pb.ListDocumentsRequest(page_token=token, **fields), timeout=60
        )
    )


def test_jobs_come_newest_first(autos: Autos, warm_case: str) -> None:
    first, *rest = _job_pages(autos, page_size=100)

    jobs = [job for page in (first, *rest) for job in page.jobs]
    times = [job.create_time.ToNanoseconds() for job in jobs]
    assert times == sorted(times, reverse=True)
    assert len({job.job_id for job in jobs}) == len(jobs)
    assert warm_case in {job.process_number for job in first.jobs}


def test_pages_have_neither_gaps_nor_repetitions_while_jobs_arrive(
    autos: Autos, warm_case: str
) -> None:
    there = [
        job.job_id for page in _job_pages(autos, process_number=warm_case) for job in page.jobs
    ]

    paged = []
    for page in _job_pages(autos, process_number=warm_case, page_size=60):
        paged += [job.job_id for job in page.jobs]
        assert start(autos, warm_case).created

    assert paged == there
    [newest] = autos.api.ListJobs(
        pb.ListJobsRequest(process_number=warm_case, page_size=1), timeout=60
    ).jobs
    assert newest.job_id not in there


@pytest.mark.parametrize(
    ("page_size", "given"), [(0, 50), (1, 1), (499, 499), (500, 500), (501, 500), (2**31 - 1, 500)]
)
def test_a_page_of_jobs_is_capped(autos: Autos, warm_case: str, page_size: int, given: int) -> None:
    answer = autos.api.ListJobs(
        pb.ListJobsRequest(process_number=warm_case, page_size=page_size), timeout=60
    )

    assert len(answer.jobs) == given
    assert answer.next_page_token


def test_a_page_that_holds_exactly_all_is_the_last(autos: Autos) -> None:
    number = autos.portal.add_case(documents=2)
    job = run(autos, number)
    run(autos, number)

    jobs = autos.api.ListJobs(pb.ListJobsRequest(process_number=number, page_size=2), timeout=60)
    listed = autos.api.ListDocuments(
        pb.ListDocumentsRequest(job_id=job.job_id, page_size=2), timeout=60
    )

    assert (len(jobs.jobs), jobs.next_page_token) == (2, "")
    assert (len(listed.documents), listed.next_page_token) == (2, "")


def test_jobs_are_filtered_by_case_and_states(autos: Autos) -> None:
    number = autos.portal.add_case(documents=2, faults={1: "file-404"})
    partial = run(autos, number)
    autos.portal.hold(number)
    running = start(autos, number).job
    cancelled = autos.api.CancelJob(pb.CancelJobRequest(job_id=running.job_id), timeout=60).job
    autos.portal.release(number)

    def ids(*states: pb.JobState) -> list[str]:
        pages = _job_pages(autos, process_number=number, states=states, page_size=1)
        return [job.job_id for page in pages for job in page.jobs]

    assert ids() == [cancelled.job_id, partial.job_id]
    assert ids(pb.JOB_STATE_CANCELLED) == [cancelled.job_id]
    assert ids(pb.JOB_STATE_PARTIALLY_COMPLETED) == [partial.job_id]
    both = (pb.JOB_STATE_CANCELLED, pb.JOB_STATE_PARTIALLY_COMPLETED, pb.JOB_STATE_CANCELLED)
    assert ids(*both) == ids()
    assert ids(pb.JOB_STATE_COMPLETED, pb.JOB_STATE_PENDING) == []


def test_a_token_is_good_for_the_same_filters_in_another_order(
    autos: Autos, warm_case: str
) -> None:
    states = [pb.JOB_STATE_COMPLETED, pb.JOB_STATE_FAILED]
    digits = "".join(c for c in warm_case if c.isdigit())

    first = autos.api.ListJobs(
        pb.ListJobsRequest(process_number=warm_case, states=states, page_size=3), timeout=60
    )
    second = autos.api.ListJobs(
        pb.ListJobsRequest(
            process_number=digits,
            states=[*reversed(states), states[0]],
            page_size=7,
            page_token=first.next_page_token,
        ),
        timeout=60,
    )

    assert len(second.jobs) == 7
    assert not {job.job_id for job in first.jobs} & {job.job_id for job in second.jobs}


def test_documents_come_in_the_order_of_the_case_file(autos: Autos, large_job: pb.Job) -> None:
    pages = list(_document_pages(autos, job_id=large_job.job_id, page_size=300))

    assert [len(page.documents) for page in pages] == [300, 300, 300, 101]
    listed = [document for page in pages for document in page.documents]
    case = autos.portal.case(large_job.process_number)
    assert case
    assert [d.sequence for d in listed] == sorted(d.sequence for d in listed)
    assert len({d.document_id for d in listed}) == len(case.documents) == MANY_DOCUMENTS


def test_documents_of_two_instances_stand_one_instance_after_the_other(autos: Autos) -> None:
    job = run(autos, CASES["two-instances"].number)

    [page] = _document_pages(autos, job_id=job.job_id)

    instances = [document.instance for document in page.documents]
    assert sorted(instances) == instances or sorted(instances, reverse=True) == instances
    assert (instances.count("G1"), instances.count("G2")) == (15, 7)
    for instance in ("G1", "G2"):
        places = [d.sequence for d in page.documents if d.instance == instance]
        assert places == sorted(places)


@pytest.mark.parametrize(
    ("page_size", "given"), [(0, 100), (1, 1), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)]
)
def test_a_page_of_documents_is_capped(
    autos: Autos, large_job: pb.Job, page_size: int, given: int
) -> None:
    answer = autos.api.ListDocuments(
        pb.ListDocumentsRequest(job_id=large_job.job_id, page_size=page_size), timeout=60
    )

    assert len(answer.documents) == given
    assert answer.next_page_token


def test_documents_are_filtered_by_states(autos: Autos) -> None:
    number = autos.portal.add_case(documents=6, faults={1: "file-404", 4: "no-href"})
    job = run(autos, number)

    def sequences(*states: pb.DocumentState) -> list[int]:
        pages = _document_pages(autos, job_id=job.job_id, states=states, page_size=1)
        return [document.sequence for page in pages for document in page.documents]

    everything = sequences()
    assert len(everything) == 6
    assert sequences(pb.DOCUMENT_STATE_FAILED) == [everything[1], everything[4]]
    assert sequences(pb.DOCUMENT_STATE_AVAILABLE, pb.DOCUMENT_STATE_FAILED) == everything
    assert sequences(pb.DOCUMENT_STATE_PENDING) == []


def test_the_status_by_number_is_that_of_the_newest_job(autos: Autos) -> None:
    number = autos.portal.add_case(documents=1)
    older = run(autos, number)
    newer = run(autos, number)

    by_number = autos.api.GetStatus(pb.GetStatusRequest(process_number=f" {number} "), timeout=60)
    by_id = autos.api.GetStatus(pb.GetStatusRequest(job_id=older.job_id.upper()), timeout=60)

    assert by_number.job == newer
    assert by_id.job == older


def test_a_job_without_documents_has_one_empty_page(autos: Autos) -> None:
    job = run(autos, CASES["empty"].number)

    answer = autos.api.ListDocuments(pb.ListDocumentsRequest(job_id=job.job_id), timeout=60)

    assert job.state == pb.JOB_STATE_COMPLETED
    assert job.progress.percent == 100
    assert (list(answer.documents), answer.next_page_token) == ([], "")
