"""Run one kill: a job reaches the point, the process dies there, and the job ends correctly."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

import grpc

from autos.downloads.v1 import downloads_pb2 as pb
from dev.processes.deadline import until
from storage.spool import SMALL_BYTES
from tests.killpoints.triggers import Death, Triggers
from tests.sandbox.court_cases.cnj import digits
from tests.system.running_autos import Autos

T = TypeVar("T")

ENDS = {
    pb.JOB_STATE_COMPLETED,
    pb.JOB_STATE_PARTIALLY_COMPLETED,
    pb.JOB_STATE_FAILED,
    pb.JOB_STATE_CANCELLED,
}
DEADLINE_S = 180.0
ROLE_OF = {
    "committed-not-hinted": "server",
    "cancelled-not-told": "server",
    "planned-not-proposed": "scheduler",
    "proposed": "scheduler",
    "listing-claimed": "worker",
    "listing-not-recorded": "worker",
    "listed-not-hinted": "worker",
    "claimed": "worker",
    "mid-download": "worker",
    "between-requests": "worker",
    "answered-not-put": "worker",
    "spooled-not-sent": "worker",
    "recorded-not-hinted": "worker",
    "ending-not-committed": "worker",
    "failed-not-told": "worker",
    "webhook-claimed": "notifier",
    "posted-not-recorded": "notifier",
    "taken-back-not-told": "scheduler",
}
# Points where a file is uploaded and recorded: in the downloading worker, or for a large file in
# an uploader.
STORING = {
    "mid-put",
    "stored-not-recorded",
    "recorded-not-removed",
    "ended-not-told",
}


@dataclass(frozen=True)
class Point:
    """A kill point, and the job that reaches it.

    All `seams` (see failpoints.py) are armed: more than one means more than one kill. `action`
    (start, retry or cancel) is the call that is made then.
    """

    name: str
    seams: tuple[str, ...]
    action: str = "start"
    documents: int = 3
    size_bytes: int = 200_000
    faults: dict[int, str] = field(default_factory=dict)

    @property
    def roles(self) -> set[str]:
        """Return the roles of the processes that die."""
        storing = "uploader" if self.size_bytes > SMALL_BYTES else "worker"
        return {storing if seam in STORING else ROLE_OF[seam] for seam in self.seams}


@dataclass(frozen=True)
class Trial:
    """A killed job at its end. `recovery_s`: from the last kill to the last recorded delivery."""

    point: Point
    job: pb.Job
    ends: int
    deaths: tuple[Death, ...]
    began: float
    ended: float

    @property
    def recovery_s(self) -> float:
        """Return the seconds from the kill until the job ended and its webhook was delivered."""
        return self.ended - self.deaths[-1].time


_FAILING = {1: "no-access-file"}
_NONE_GOOD = {0: "no-access-file"}
# By an uploader.
_SPOOLED = 2_000_000


def _point(name: str, *seams: str, **fields: Any) -> Point:
    return Point(name, seams or (name,), **fields)


# Neighbours kill different processes: so trials in parallel wait less for each other.
POINTS = (
    _point("committed-not-hinted", faults=_FAILING),
    _point("planned-not-proposed", faults=_FAILING),
    _point("listing-claimed", faults=_FAILING),
    _point("mid-put"),
    _point("webhook-claimed", documents=1),
    _point("spooled-mid-put", "mid-put", size_bytes=_SPOOLED),
    _point("listing-not-recorded", faults=_FAILING),
    _point("posted-not-recorded", faults=_FAILING),
    _point("listed-not-hinted", faults=_FAILING),
    _point("stored-not-recorded", faults=_FAILING),
    _point("cancelled-not-told", action="cancel"),
    _point("spooled-not-recorded", "stored-not-recorded", size_bytes=_SPOOLED, faults=_FAILING),
    _point("claimed", faults=_FAILING),
    _point("proposed", faults=_FAILING),
    _point("recorded-not-removed", size_bytes=_SPOOLED, faults=_FAILING),
    _point("taken-back-not-told", "claimed", "taken-back-not-told", documents=1),
    _point("mid-download", faults=_FAILING),
    _point("between-requests", documents=24, size_bytes=20_000),
    _point("answered-not-put", faults=_FAILING),
    _point("recorded-not-hinted", faults=_FAILING),
    _point("ending-not-committed", documents=1, faults=_NONE_GOOD),
    _point(
        "retried-not-hinted", "committed-not-hinted", action="retry", documents=1, faults=_NONE_GOOD
    ),
    _point("spooled-not-sent", size_bytes=_SPOOLED, faults=_FAILING),
    _point("ended-not-told"),
    _point("spooled-ended-not-told", "ended-not-told", size_bytes=_SPOOLED),
    _point("failed-not-told", documents=1, faults=_NONE_GOOD),
)

# `make test` kills each of these steps once; the other points belong to `make killpoints` only.
STEPS = tuple(
    point
    for point in POINTS
    if point.name
    in {
        "committed-not-hinted",
        "proposed",
        "listing-not-recorded",
        "listed-not-hinted",
        "claimed",
        "mid-download",
        "answered-not-put",
        "spooled-not-sent",
        "mid-put",
        "spooled-mid-put",
        "stored-not-recorded",
        "spooled-not-recorded",
        "ending-not-committed",
        "spooled-ended-not-told",
        "posted-not-recorded",
    }
)


class Turns:
    """Permits one kill at a time in each role.

    Trials may run in parallel, but a process that dies for one must not stop another trial that was
    about to reach its own point.
    """

    def __init__(self) -> None:
        self._locks = {role: threading.Lock() for role in sorted({*ROLE_OF.values(), "uploader"})}

    @contextmanager
    def of(self, point: Point) -> Iterator[None]:
        """Hold the permits of a point from its arming to its last kill."""
        with ExitStack() as held:
            # Always in the same order, so that no two wait for each other.
            for role, lock in self._locks.items():
                if role in point.roles:
                    held.enter_context(lock)
            yield


def attempt(autos: Autos, flags: Triggers, turns: Turns, point: Point) -> Trial:
    """Run one job with its kill. Raises TimeoutError if it does not end."""
    number = autos.portal.add_case(
        documents=point.documents, size=point.size_bytes, faults=point.faults
    )
    with turns.of(point):
        began = time.time()
        job_id = _led_to(autos, flags, point, number)
        _await_deaths(flags, point, number)
    ends = 2 if point.action == "retry" else 1
    # Only then poll its state: many trials that poll all the time would load the server.
    autos.receiver.wait_for(ends, DEADLINE_S, path=path_of(number))
    job = _await_delivered(autos, flags, point, job_id)
    ended = time.time()
    # A gate that a cancelled job left would hold its connections.
    autos.portal.release(number)
    mine = tuple(death for death in flags.deaths() if death.number == digits(number))
    return Trial(point, job, ends, mine, began, ended)


def _led_to(autos: Autos, flags: Triggers, point: Point, number: str) -> str:
    """Arm the point, make the point's call and return the job's id."""
    start = pb.StartDownloadRequest(
        process_number=number,
        webhook_url=autos.receiver.url_of(path_of(number)),
        request_id=str(uuid4()),
    )
    arm = partial(_arm, flags, point, number)
    if point.action == "start":
        arm()
    elif point.action == "cancel":
        autos.portal.hold(number)
    job_id: str = call_until_answered(autos.api.StartDownload, start).job.job_id
    if point.action == "cancel":
        autos.portal.wait_held(number, timeout_s=DEADLINE_S)
        arm()
        call_until_answered(autos.api.CancelJob, pb.CancelJobRequest(job_id=job_id))
    elif point.action == "retry":
        until(
            lambda: is_delivered(_status(autos, job_id)), DEADLINE_S, "The first run does not end."
        )
        arm()
        again = pb.RetryJobRequest(job_id=job_id, request_id=str(uuid4()))
        call_until_answered(autos.api.RetryJob, again)
    return job_id


def _arm(flags: Triggers, point: Point, number: str) -> None:
    for seam in point.seams:
        flags.arm(seam, number)


def path_of(number: str) -> str:
    """Return the receiver's path for a case."""
    return f"/kill/{digits(number)}"


def _await_deaths(flags: Triggers, point: Point, number: str) -> None:
    until(
        lambda: not any(flags.is_armed(seam, number) for seam in point.seams),
        DEADLINE_S,
        f"{point.name}: no process reached it.",
    )


def _await_delivered(autos: Autos, flags: Triggers, point: Point, job_id: str) -> pb.Job:
    seen = [_status(autos, job_id)]

    def is_over() -> bool:
        seen[0] = _status(autos, job_id)
        return is_delivered(seen[0])

    try:
        until(is_over, DEADLINE_S, point.name)
    except TimeoutError:
        raise TimeoutError(f"{point.name}: {flags.deaths()[-1:]}, then {seen[0]}") from None
    return seen[0]


def is_delivered(job: pb.Job) -> bool:
    """Return True if the job has ended and every webhook is delivered."""
    return job.state in ENDS and all(h.state == pb.WEBHOOK_STATE_DELIVERED for h in job.webhooks)


def _status(autos: Autos, job_id: str) -> pb.Job:
    job: pb.Job = call_until_answered(autos.api.GetStatus, pb.GetStatusRequest(job_id=job_id)).job
    return job


def call_until_answered(call: Callable[..., T], request: object) -> T:
    """Return the answer; repeat the call while it is UNAVAILABLE, as the contract requires."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            return call(request, timeout=DEADLINE_S, wait_for_ready=True)
        except grpc.RpcError as error:
            is_away = error.code() == grpc.StatusCode.UNAVAILABLE
            if not is_away or time.monotonic() > deadline:
                raise
