"""Test the checks of events, watches, batches and budgets: every alteration of a run is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from standardwebhooks import Webhook

from autos.downloads.v1 import downloads_pb2 as pb
from autos.json_form import as_json
from tests.chaos.acknowledgements import Acknowledgements
from tests.chaos.callers.mixed_workload import LIMITED_COURT, Mix, mix_of
from tests.chaos.callers.workload import workload_of
from tests.chaos.checks import check_batches, check_budget, check_events, check_watches
from tests.chaos.checks.snapshot import Snapshot
from tests.sandbox.court_cases.cnj import process_number
from tests.sandbox.receivers.deliveries import Delivery, delivery_of
from tests.sandbox.request_log import PortalRequest

SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="
NUMBER, PATH, BATCH = process_number(1), "/watch/0", "batch"
ENDED_S = 1_010


def _delivery(path: str, webhook_id: str, event: pb.WebhookEvent) -> Delivery:
    body, now = json.dumps(as_json(event)).encode(), datetime.now(UTC)
    headers = {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRET).sign(webhook_id, now, body.decode()),
    }
    return delivery_of(Webhook(SECRET), "POST", path, headers, body)


def _change(webhook_id: str, document_id: str) -> pb.Event:
    event = pb.Event(webhook_id=webhook_id, cursor=webhook_id)
    event.event.type = "case.changed"
    event.event.data.process_number = NUMBER
    event.event.data.change.new_document_ids.append(document_id)
    return event


def _request(number: str) -> PortalRequest:
    return PortalRequest(ENDED_S, "GET", "", 200, "", "list", number, None)


@dataclass
class Run:
    """A watched case that changed twice, and its jobs, which were started as a batch."""

    seen: Snapshot
    ledger: Acknowledgements
    mix: Mix
    read: list[pb.Event] = field(default_factory=list)
    made: int = 2

    def problems(self) -> list[str]:
        plan = SimpleNamespace(number=NUMBER)
        watcher: Any = SimpleNamespace(plan=plan, made=self.made, path=PATH)
        return [
            *check_events.check(self.ledger, self.seen, self.read),
            *check_watches.check(self.seen, [watcher]),
            *check_batches.check(self.ledger, self.seen),
            *check_budget.check(self.seen, self.mix),
        ]


@pytest.fixture
def run() -> Run:
    jobs, documents, events, deliveries = {}, {}, [], []
    for place in ("0", "1"):
        job = pb.Job(
            job_id=place,
            process_number=NUMBER,
            state=pb.JOB_STATE_COMPLETED,
            batch_id=BATCH,
        )
        job.end_time.FromSeconds(ENDED_S)
        jobs[place] = job
        documents[place] = [
            pb.Document(document_id="old", state=pb.DOCUMENT_STATE_SKIPPED),
            pb.Document(document_id=f"new-{place}", state=pb.DOCUMENT_STATE_AVAILABLE),
        ]
        end = pb.Event(webhook_id=f"end-{place}", cursor=place)
        end.event.type = "download.completed"
        end.event.data.job.CopyFrom(job)
        change = _change(f"change-{place}", f"new-{place}")
        events += [change, end]
        deliveries.append(_delivery(PATH, change.webhook_id, change.event))
        # A second receiver has a webhook-id of its own.
        deliveries.append(_delivery("/second", f"other-{place}", end.event))
    mix = mix_of(1, workload_of(1, jobs=4, documents=2, over_s=10), over_s=10)
    ledger = Acknowledgements()
    ledger.batches[BATCH] = {"0", "1"}
    batch = pb.Batch(batch_id=BATCH)
    batch.jobs.add(state=pb.JOB_STATE_COMPLETED, count=2)
    seen = Snapshot(
        jobs=jobs,
        documents=documents,
        objects={},
        requests=[_request(NUMBER), _request(NUMBER)],
        flights=[],
        deliveries=deliveries,
        events=events,
        batches={BATCH: batch},
    )
    return Run(seen, ledger, mix, list(events))


def test_a_good_run_has_no_problems(run: Run) -> None:
    assert run.problems() == []


def _log(run: Run, change: Callable[[list[pb.Event]], list[pb.Event]]) -> None:
    """Alter the log, and what was read of it."""
    run.read = change(run.read)
    run.seen = replace(run.seen, events=list(run.read))


def _requested(run: Run, numbers: list[str]) -> None:
    run.seen.requests.extend(map(_request, numbers))


ALTERATIONS: dict[str, tuple[Callable[[Run], object], str]] = {
    "an event that a reader missed": (lambda r: r.read.pop(1), "lost: ['end-0']"),
    "an event that a reader got twice": (lambda r: r.read.append(r.read[0]), "['change-0']"),
    "events in another order": (lambda r: r.read.reverse(), "has read 4 events"),
    "an end that is not in the log": (lambda r: _log(r, lambda e: e[:3]), "is not in the log"),
    "an end that is in the log twice": (lambda r: _log(r, lambda e: [*e, e[3]]), "2 times"),
    "a change that only a webhook said": (lambda r: _log(r, lambda e: e[1:]), "has not"),
    "a change that was not reported": (lambda r: setattr(r, "made", 3), "3 changes were made"),
    "a change that was reported twice": (
        lambda r: _log(r, lambda e: [*e, _change("again", "new-0")]),
        "have reported",
    ),
    "a change that no webhook said": (lambda r: r.seen.deliveries.pop(0), "has not got"),
    "a new document that no job fetched": (
        lambda r: setattr(r.seen.documents["0"][1], "state", pb.DOCUMENT_STATE_SKIPPED),
        "wanted by jobs are",
    ),
    "a job that is of no batch": (
        lambda r: r.seen.jobs["0"].ClearField("batch_id"),
        "have other jobs",
    ),
    "a batch that counts wrongly": (
        lambda r: setattr(r.seen.batches[BATCH].jobs[0], "count", 3),
        "counts",
    ),
    "a case beyond the budget of a court": (
        lambda r: _requested(r, [process_number(n, court=LIMITED_COURT) for n in range(4)]),
        f"4 cases of court {LIMITED_COURT}",
    ),
    "a case beyond the budget of all": (
        lambda r: _requested(r, [process_number(n) for n in range(40)]),
        "cases of all courts",
    ),
}


@pytest.mark.parametrize("name", ALTERATIONS)
def test_what_is_altered_is_found(run: Run, name: str) -> None:
    alter, problem = ALTERATIONS[name]
    alter(run)

    assert any(problem in found for found in run.problems()), run.problems()


def test_a_mix_asks_for_more_cases_of_one_court_than_its_budget_allows() -> None:
    plans = workload_of(3, jobs=50, documents=2, over_s=10)
    mix = mix_of(3, plans, over_s=10)

    assert mix == mix_of(3, plans, over_s=10)
    [limited] = [batch for batch in mix.batches if batch.budget is not None]
    assert limited.budget is not None
    assert 0 < limited.budget < len(limited.numbers)
    assert mix.settings["PDPJ_CASES_PER_30_DAYS_BY_COURT"] == f"{LIMITED_COURT}={limited.budget}"
    cases = {number for batch in mix.batches for number in batch.numbers}
    cases |= {watch.number for watch in mix.watches}
    beyond = len(limited.numbers) - limited.budget
    assert int(mix.settings["PDPJ_CASES_PER_DAY"]) == len(plans) + len(cases) - beyond
