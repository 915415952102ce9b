"""Test the checks of chaos: a good run passes, and every alteration of it is found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from autos.downloads.v1 import downloads_pb2 as pb
from autos.json_form import as_json
from tests.chaos.acknowledgements import AcknowledgedStart, Acknowledgements, Redelivery
from tests.chaos.checks import check_documents, check_jobs, check_logs, check_portal, check_webhooks
from tests.chaos.checks.snapshot import Snapshot
from tests.chaos.faults.fault_plan import PlannedFault
from tests.chaos.faults.fault_windows import Windows
from tests.sandbox.portal import SandboxPortal
from tests.sandbox.receivers.deliveries import delivery_of
from tests.sandbox.request_log import Flight, PortalRequest
from tests.system.bucket import sandbox_sha256

JOB, PATH, WEBHOOK_ID = "2f1e0c9a-7b3d-4c5e-8f60-1a2b3c4d5e6f", "/job/0/first", "msg_1"
SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="
BEGUN_S, ENDED_S = 1_000, 1_010


@dataclass
class Run:
    """The records of a run. A test may alter them before it checks them."""

    portal: SandboxPortal
    ledger: Acknowledgements
    seen: Snapshot
    windows: Windows
    marks: list[tuple[int, float]]

    @property
    def job(self) -> pb.Job:
        return self.seen.jobs[JOB]

    @property
    def documents(self) -> list[pb.Document]:
        return self.seen.documents[JOB]

    def problems(self) -> list[str]:
        return [
            *check_jobs.check(self.ledger, self.seen, []),
            *check_documents.check(self.portal, self.seen, self.windows),
            *check_documents.check_bucket(self.seen),
            *check_webhooks.check(self.ledger, self.seen),
            *check_portal.check(self.portal, self.seen, self.windows, self.marks),
        ]


def _signed(job: pb.Job, webhook_id: str = WEBHOOK_ID, secret: str = SECRET) -> object:
    """Return a signed delivery of the end of a job."""
    event = {"type": "download.partially_completed", "data": {"job": as_json(job)}}
    body = json.dumps(event).encode()
    now = datetime.now(UTC)
    headers = {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(webhook_id, now, body.decode()),
    }
    return delivery_of(Webhook(SECRET), "POST", PATH, headers, body)


def _request(uuid: object, at: float = BEGUN_S) -> PortalRequest:
    return PortalRequest(at, "GET", "", 200, "", "file", None, str(uuid))


@pytest.fixture
def run() -> Iterator[Run]:
    """Return one job of two documents; the portal has lost the second one."""
    with SandboxPortal() as portal:
        number = portal.add_case(documents=2, faults={1: "file-404"})
        case = portal.case(number)
        assert case
        good, lost = case.documents
        key, sha256 = "default/1", sandbox_sha256(good)
        documents = [
            pb.Document(
                document_id=str(good.uuid),
                state=pb.DOCUMENT_STATE_AVAILABLE,
                size_bytes=good.size_bytes,
                sha256=sha256,
                object_key=key,
                attempt_count=1,
            ),
            pb.Document(
                document_id=str(lost.uuid),
                state=pb.DOCUMENT_STATE_FAILED,
                attempt_count=1,
                error=pb.Error(reason="NOT_FOUND", message="The portal does not have it."),
            ),
        ]
        job = pb.Job(
            job_id=JOB,
            process_number=number,
            state=pb.JOB_STATE_PARTIALLY_COMPLETED,
            progress=pb.Progress(
                total_documents=2,
                completed_documents=1,
                failed_documents=1,
                stored_bytes=good.size_bytes,
            ),
        )
        job.create_time.FromSeconds(BEGUN_S)
        job.end_time.FromSeconds(ENDED_S)
        delivery = _signed(job)
        job.webhooks.add(
            url=f"http://127.0.0.1:80{PATH}",
            state=pb.WEBHOOK_STATE_DELIVERED,
            webhook_id=WEBHOOK_ID,
        )
        ledger = Acknowledgements()
        ledger.starts.append(AcknowledgedStart(JOB, number, "", PATH, created=True))
        ledger.see(job)
        seen = Snapshot(
            jobs={JOB: job},
            documents={JOB: documents},
            objects={key: sha256},
            requests=[_request(good.uuid), _request(lost.uuid)],
            flights=[Flight(number, str(good.uuid), 1, BEGUN_S, BEGUN_S + 1)],
            deliveries=[delivery],  # type: ignore[list-item]
        )
        yield Run(portal, ledger, seen, Windows([], {}, {}), [])


def test_a_good_run_has_no_problems(run: Run) -> None:
    assert run.problems() == []


def _objects(run: Run) -> dict[str, str]:
    assert isinstance(run.seen.objects, dict)
    return run.seen.objects


def _another_end(run: Run) -> None:
    later = pb.Job()
    later.CopyFrom(run.job)
    later.end_time.FromSeconds(ENDED_S + 1)
    run.ledger.see(later)


def _delivered_another_end(run: Run) -> None:
    later = pb.Job()
    later.CopyFrom(run.job)
    later.end_time.FromSeconds(ENDED_S + 1)
    run.seen.deliveries.append(_signed(later))  # type: ignore[arg-type]


def _six_at_once(run: Run) -> None:
    [flight] = run.seen.flights
    run.seen.flights.extend(replace(flight, port=port) for port in range(2, 7))


ALTERATIONS: dict[str, tuple[Callable[[Run], object], str]] = {
    "a job that runs": (lambda r: setattr(r.job, "state", pb.JOB_STATE_PROCESSING), "not ended"),
    "a job that is gone": (
        lambda r: r.ledger.starts.append(AcknowledgedStart("x", "", "", "", created=True)),
        "is gone",
    ),
    "a job that ended twice": (_another_end, "was seen to end 2 times"),
    "a counter": (
        lambda r: setattr(r.job.progress, "failed_documents", 2),
        "its documents add up to",
    ),
    "stored bytes": (lambda r: setattr(r.job.progress, "stored_bytes", 1), "stored_bytes"),
    "the wrong end": (lambda r: setattr(r.job, "state", pb.JOB_STATE_COMPLETED), "ended JOB_"),
    "cancelled without a call": (
        lambda r: setattr(r.job, "state", pb.JOB_STATE_CANCELLED),
        "without a CancelJob",
    ),
    "a lost object": (lambda r: _objects(r).clear(), "its object is missing"),
    "other bytes": (lambda r: _objects(r).update({"default/1": "0" * 64}), "is another"),
    "an object too many": (lambda r: _objects(r).update({"default/2": ""}), "named by no row"),
    "another hash": (
        lambda r: setattr(r.documents[0], "sha256", hashlib.sha256().hexdigest()),
        "another hash than the portal",
    ),
    "a failure without a reason": (
        lambda r: r.documents[1].error.ClearField("reason"),
        "FAILED with ''",
    ),
    "a failure of what is there": (
        lambda r: r.documents[1].error.CopyFrom(pb.Error(reason="WORKER_LOST", message="x")),
        "FAILED with 'WORKER_LOST'",
    ),
    "a webhook that was not sent": (lambda r: r.seen.deliveries.clear(), "has not got it"),
    "a webhook that is due": (
        lambda r: setattr(r.job.webhooks[0], "state", pb.WEBHOOK_STATE_PENDING),
        "WEBHOOK_STATE_PENDING",
    ),
    "a forged delivery": (
        lambda r: r.seen.deliveries.append(_signed(r.job, secret="whsec_" + "eHh4" * 9)),  # type: ignore[arg-type]
        "does not verify",
    ),
    "a second webhook-id": (
        lambda r: r.seen.deliveries.append(_signed(r.job, "msg_2")),  # type: ignore[arg-type]
        "2 webhook-ids",
    ),
    "one webhook-id for two ends": (_delivered_another_end, "2 different ends"),
    "a lost webhook": (lambda r: r.job.webhooks.pop(), "has lost its webhook"),
    "nothing sent again": (
        lambda r: r.ledger.redeliveries.append(Redelivery(JOB, WEBHOOK_ID, 1)),
        "was not sent again",
    ),
    "a file asked for in vain": (
        lambda r: r.seen.requests.append(_request(r.documents[0].document_id)),
        "was asked for 2 times in 1 attempts",
    ),
    "six lanes": (_six_at_once, "6 files were on their way at once"),
}


@pytest.mark.parametrize("name", ALTERATIONS)
def test_what_is_altered_is_found(run: Run, name: str) -> None:
    alter, problem = ALTERATIONS[name]
    alter(run)

    assert any(problem in found for found in run.problems()), run.problems()


def test_a_claim_that_a_fault_took_may_cost_a_second_request(run: Run) -> None:
    run.seen.requests.append(_request(run.documents[0].document_id))
    fault = PlannedFault(0, 1.0, "worker-kill", 0.0, 0.5)

    during = replace(run, windows=Windows([fault], {0: BEGUN_S + 1}, {0: BEGUN_S + 2}))
    after = replace(run, windows=Windows([fault], {0: ENDED_S + 5}, {0: ENDED_S + 6}))

    assert during.problems() == []
    assert after.problems() != []


def test_a_frozen_workers_files_do_not_count_as_lanes(run: Run) -> None:
    _six_at_once(run)
    run.marks.append((6, BEGUN_S + 5.0))

    assert run.problems() == []


def test_tracebacks_are_found_in_logs() -> None:
    lines = ['a.worker | {"event": "attempt failed", "exception": "Traceback...\\nKeyError: 1"}']

    assert list(check_logs.check(lines)) == ["a.worker logged 'attempt failed': KeyError: 1"]
    assert list(check_logs.check(['a.worker | {"event": "fine"}', "a.autos | worker ended"])) == []
