"""Test every fault of docs/reference/portal.md at once, and the outcome of each document."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from autos.downloads.v1 import downloads_pb2 as pb
from dev.embedded.embedded_servers import EmbeddedServers
from tests.sandbox.court_cases.case_model import SandboxCase, SandboxDocument
from tests.sandbox.court_cases.cases import CASES
from tests.sandbox.court_cases.portal_faults import good_count, is_good_in_the_end
from tests.system.bucket import StoredBucket, sandbox_sha256
from tests.system.job_calls import documents, finish, start
from tests.system.running_autos import Autos, running_autos

# Its files reach their deadline five times each.
DRIP = "drip"
# The S3 prefix of that one's Autos.
PREFIX = "impatient/"
# A good document beside them must be stored within it, however busy the machine is.
DRIP_DEADLINE_S = "6"
DRIP_ENDS_S = 120.0
pytestmark = pytest.mark.timeout(300)

# They test size or slowness: see test_memory and test_job_concurrency.
ELSEWHERE = {"large", "large-300", "slow"}
# The faults that delay the portal longest come first.
CASES_HERE = sorted(CASES.keys() - ELSEWHERE, key=lambda slug: slug != DRIP)
CONTENT_TYPES = {
    "pdf": "application/pdf",
    "html": "text/html",
    "rtf": "application/rtf",
    "png": "image/png",
    "jpeg": "image/jpeg",
    "zip": "application/zip",
    "text": "text/plain",
}
# fault: (reason, portal requests for the file). Five attempts are the maximum, three "few".
FAILURES = {
    "no-access-file": ("NO_ACCESS", 1),
    "expired-token": ("CREDENTIALS_REJECTED", 1),
    "forbidden": ("NO_ACCESS", 1),
    "file-404": ("NOT_FOUND", 1),
    "wrong-route": ("PORTAL_ERROR", 1),
    "redirect": ("UNTRUSTED_LINK", 1),
    "codex-500": ("PORTAL_ERROR", 3),
    "page-shell": ("NOT_A_DOCUMENT", 3),
    "bad-gateway": ("PORTAL_UNAVAILABLE", 5),
    "drip": ("PORTAL_UNAVAILABLE", 5),
    "always-json": ("NOT_A_DOCUMENT", 5),
    "login-page": ("NOT_A_DOCUMENT", 5),
    "empty-file": ("CORRUPT", 5),
    "cut-for-good": ("CORRUPT", 5),
    "short-of-tamanho": ("CORRUPT", 5),
    "no-eof": ("CORRUPT", 5),
    "no-length-cut": ("CORRUPT", 5),
    "chunked-cut": ("CORRUPT", 5),
    "foreign-href": ("UNTRUSTED_LINK", 0),
    "other-case-href": ("UNTRUSTED_LINK", 0),
    "query-href": ("UNTRUSTED_LINK", 0),
    "no-href": ("NO_LINK", 0),
}
# fault: (counted attempts, portal requests for the file), until the file is stored.
RECOVERIES = {
    "firewall": (1, 2),
    "too-fast": (1, 2),
    "too-fast-date": (1, 2),
    "too-fast-bare": (1, 2),
    "codex-500-then-good": (3, 3),
    "cut": (3, 3),
    "not-ready": (2, 2),
    "502-once": (2, 2),
    "503-once": (2, 2),
    "504-once": (2, 2),
    "chunked": (1, 1),
    "gzip": (1, 1),
    None: (1, 1),
}
AWAY_ONCE = {"502-once", "503-once", "504-once"}
# slug: (the job's reason, portal requests for the listing).
LISTING_FAILURES = {
    "no-access": ("NO_ACCESS", 1),
    "list-500": ("PORTAL_ERROR", 3),
    "list-garbage": ("PORTAL_ERROR", 3),
    "unknown": ("NOT_FOUND", 1),
    "unknown-content": ("NOT_FOUND", 1),
}


@dataclass(frozen=True)
class Outcome:
    """The ended job of a case."""

    job: pb.Job
    documents: list[pb.Document]

    @property
    def available(self) -> list[pb.Document]:
        """Return the documents that the bucket should hold."""
        return [each for each in self.documents if each.state == pb.DOCUMENT_STATE_AVAILABLE]


@pytest.fixture(scope="module")
def outcomes(
    hasty: Autos,
    servers: EmbeddedServers,
    second_port: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Outcome]:
    """Start every case at the same moment and return each outcome.

    The case that drips has its own Autos on the same portal and bucket: a deadline short enough to
    expire five times would end transfers that are only slow.
    """
    hasty.portal.reset()
    folder = tmp_path_factory.mktemp("impatient", numbered=False)
    redis_url = urlsplit(servers.env["REDIS_URL"])._replace(path="/2").geturl()
    with running_autos(
        servers,
        hasty.portal,
        hasty.receiver,
        second_port,
        folder,
        REDIS_URL=redis_url,
        S3_PREFIX=PREFIX,
        S3_BUCKET=hasty.stack.env["S3_BUCKET"],
        DOCUMENT_DEADLINE_S=DRIP_DEADLINE_S,
        WORKER_PROCESSES="1",
    ) as impatient:
        of = {slug: impatient if slug == DRIP else hasty for slug in CASES_HERE}
        jobs = {slug: _start(autos, slug) for slug, autos in of.items()}
        ended = {
            slug: finish(of[slug], job.job_id, deadline_s=DRIP_ENDS_S) for slug, job in jobs.items()
        }
        return {slug: Outcome(job, documents(of[slug], job)) for slug, job in ended.items()}


def _start(autos: Autos, slug: str) -> pb.Job:
    url = autos.receiver.url_of(f"/faults/{slug}")
    return start(autos, CASES[slug].number, webhook_url=url).job


@pytest.fixture(scope="module")
def bucket(hasty: Autos) -> StoredBucket:
    """Return the bucket behind it."""
    return StoredBucket(hasty)


every_case = pytest.mark.parametrize("slug", sorted(CASES_HERE))
every_listed_case = pytest.mark.parametrize("slug", sorted(set(CASES_HERE) - {*LISTING_FAILURES}))


def _listed(case: SandboxCase) -> list[list[SandboxDocument]]:
    """Return the distinct documents of a case in order, each with its duplicates, best first."""
    return [
        sorted(twins, key=lambda twin: not twin.has_arquivo) for twins in case.distinct.values()
    ]


def _expected_state(case: SandboxCase) -> pb.JobState:
    total, good = len(case.distinct), good_count(case)
    if good == total and case.slug not in LISTING_FAILURES:
        return pb.JOB_STATE_COMPLETED
    return pb.JOB_STATE_PARTIALLY_COMPLETED if good else pb.JOB_STATE_FAILED


def _shown(name: str) -> str:
    return "".join(c for c in name if c.isprintable())


@every_case
def test_a_case_ends_with_every_document_that_can_be_had(
    outcomes: dict[str, Outcome], slug: str
) -> None:
    case, job = CASES[slug], outcomes[slug].job

    assert pb.JobState.Name(job.state) == pb.JobState.Name(_expected_state(case))
    assert len(outcomes[slug].available) == good_count(case) == job.progress.completed_documents
    if slug not in LISTING_FAILURES:
        assert job.progress.total_documents == len(case.distinct)
        assert job.progress.failed_documents == len(case.distinct) - good_count(case)


@every_listed_case
def test_the_order_and_the_facts_of_the_case_are_kept(
    outcomes: dict[str, Outcome], slug: str
) -> None:
    expected = [
        (
            instance,
            1 + twins[0].position + twins[0].position // 4,
            _shown(twins[0].name),
            twins[0].secrecy or "",
        )
        for (instance, _), twins in zip(CASES[slug].distinct, _listed(CASES[slug]), strict=True)
    ]

    found = [
        (each.instance, each.sequence, each.name, each.secrecy_level)
        for each in outcomes[slug].documents
    ]

    assert found == expected


@every_listed_case
def test_each_document_gets_its_attempts_and_its_reason(
    hasty: Autos, outcomes: dict[str, Outcome], slug: str
) -> None:
    requests = hasty.portal.journal.requests(CASES[slug].number)
    request_counts = Counter(request.uuid for request in requests)
    for twins, document in zip(_listed(CASES[slug]), outcomes[slug].documents, strict=True):
        attempts, spared = 0, 0
        for twin in twins:
            reason, count, requests_expected = _fate(twin)
            attempts += count
            # The cases belong to one court. After the fourth such answer in a row, for any files,
            # the court's circuit opens, and the attempt does not count.
            spared += twin.fault in AWAY_ONCE
            # A probe of a court with an open circuit requests a file and does not count as an
            # attempt.
            probes = 3 if reason == "PORTAL_UNAVAILABLE" else 0
            assert requests_expected <= request_counts[str(twin.uuid)] <= requests_expected + probes
            if is_good_in_the_end(twin):
                break
        assert attempts - spared <= document.attempt_count <= attempts
        assert document.error.reason == reason


def _fate(document: SandboxDocument) -> tuple[str, int, int]:
    """Return the reason ("" if the file is good in the end), counted attempts, portal requests."""
    if document.fault in FAILURES:
        reason, requests_expected = FAILURES[document.fault]
        return reason, requests_expected, requests_expected
    return "", *RECOVERIES[document.fault]


@every_case
def test_the_bucket_holds_the_available_documents_byte_for_byte_and_nothing_else(
    bucket: StoredBucket, outcomes: dict[str, Outcome], slug: str
) -> None:
    available = outcomes[slug].available

    prefix = PREFIX if slug == DRIP else ""
    keys = bucket.keys_of_case(CASES[slug].number, prefix=prefix)
    assert keys == {each.object_key for each in available}
    for twins, document in zip(_listed(CASES[slug]), outcomes[slug].documents, strict=False):
        if document.state != pb.DOCUMENT_STATE_AVAILABLE:
            continue
        source = next(twin for twin in twins if is_good_in_the_end(twin))
        assert document.sha256 == sandbox_sha256(source) == bucket.sha256(document.object_key)
        assert document.size_bytes == source.size_bytes
        assert document.content_type == CONTENT_TYPES[source.kind]
        assert bucket.content_type(document.object_key) == document.content_type
        assert bucket.file_names(document.object_key)[1] == document.name
        assert document.name.isprintable()
    assert outcomes[slug].job.progress.stored_bytes == sum(d.size_bytes for d in available)


@pytest.mark.parametrize(("slug", "expected"), LISTING_FAILURES.items())
def test_a_case_that_cannot_be_listed_fails_with_the_reason(
    hasty: Autos, outcomes: dict[str, Outcome], slug: str, expected: tuple[str, int]
) -> None:
    job = outcomes[slug].job

    assert job.state == pb.JOB_STATE_FAILED
    assert (job.error.reason, hasty.portal.request_count(CASES[slug].number)) == expected
    assert not job.progress.HasField("total_documents")


@pytest.mark.parametrize("slug", ["empty", "null-list", "null-alone"])
def test_a_case_without_documents_is_complete(outcomes: dict[str, Outcome], slug: str) -> None:
    progress = outcomes[slug].job.progress

    assert progress.HasField("total_documents")
    assert (progress.completed_documents, progress.total_documents) == (0, 0)
    assert progress.percent == 100


def test_a_listing_that_is_busy_twice_is_requested_three_times(
    hasty: Autos, outcomes: dict[str, Outcome]
) -> None:
    assert outcomes["list-503-then-good"].job.state == pb.JOB_STATE_COMPLETED
    assert hasty.portal.request_count(CASES["list-503-then-good"].number) == 3


def test_only_listed_documents_are_requested(hasty: Autos, outcomes: dict[str, Outcome]) -> None:
    for request in hasty.portal.requests:
        assert request.kind in {"list", "file"}
        case = hasty.portal.case(request.number or "")
        assert case is not None
        assert request.kind == "list" or request.uuid in case.by_uuid


def test_sealed_documents_get_no_url_in_the_webhook(
    hasty: Autos, outcomes: dict[str, Outcome]
) -> None:
    for slug, public in (("sealed", 1), ("sealed-case", 0)):
        path = f"/faults/{slug}"
        [delivery] = hasty.receiver.wait_for(1, 60, path=path)
        sent = delivery.payload["data"]["documents"]
        open_ones = [each for each in sent if "url" in each]

        assert len(open_ones) == public
        assert all(each["secrecy_level"] == "PUBLICO" for each in open_ones)
        assert all(each["state"] == "DOCUMENT_STATE_AVAILABLE" for each in sent)
