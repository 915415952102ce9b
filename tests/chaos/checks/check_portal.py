"""Check that the portal got no needless requests, and at most five at once for a case."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from autos.downloads.v1 import downloads_pb2 as pb
from tests.chaos.checks.snapshot import Snapshot
from tests.chaos.faults.fault_plan import PlannedFault
from tests.chaos.faults.fault_windows import Windows
from tests.sandbox.court_cases.cnj import digits
from tests.sandbox.portal import SandboxPortal
from tests.sandbox.request_log import Flight

LANES = 5
# Requests that a fault may cause beyond the counted attempts: those of claims that it interrupts,
# and those of a court with an open circuit, where attempts do not count. Faults of Valkey, S3 and
# receivers cause none.
TAKES_CLAIMS = ("worker", "all", "host", "postgres", "uploader", "portal")
# A lasting fault can also interrupt the claim that repeats an interrupted one.
CLAIMS_PER_FAULT = 2
PAUSED = 429


def check(
    portal: SandboxPortal, seen: Snapshot, windows: Windows, marks: Sequence[tuple[int, float]]
) -> Iterator[str]:
    """Return a line for each problem with requests to the portal."""
    yield from _calls(portal, seen, windows)
    yield from _lanes(seen.flights, marks)


def calls_and_attempts(seen: Snapshot) -> tuple[int, int]:
    """Return the file requests that the portal got, and the attempts that the documents count."""
    calls = sum(request.kind == "file" for request in seen.requests)
    attempts = sum(d.attempt_count for documents in seen.documents.values() for d in documents)
    return calls, attempts


def _calls(portal: SandboxPortal, seen: Snapshot, windows: Windows) -> Iterator[str]:
    calls = Counter(r.uuid for r in seen.requests if r.kind == "file")
    pauses = Counter(r.uuid for r in seen.requests if r.kind == "file" and r.status == PAUSED)
    attempts: Counter[str] = Counter()
    # A file in transfer when its job was cancelled counts no attempt.
    cancelled: Counter[str] = Counter()
    struck: dict[str, set[PlannedFault]] = defaultdict(set)
    for job in seen.jobs.values():
        case = portal.case(job.process_number)
        assert case
        faults = [f for f in windows.during(job) if f.kind.startswith(TAKES_CLAIMS)]
        for source, document in zip(case.documents, seen.documents[job.job_id], strict=False):
            attempts[str(source.uuid)] += document.attempt_count
            cancelled[str(source.uuid)] += document.state == pb.DOCUMENT_STATE_CANCELLED
            struck[str(source.uuid)] |= set(faults)
    for uuid, count in calls.items():
        assert uuid
        lost = count - attempts[uuid] - pauses[uuid] - cancelled[uuid]
        # A request on a kept connection that was closed before the answer is repeated once.
        is_cut = any(fault.kind.startswith("portal") for fault in struck[uuid])
        lost -= attempts[uuid] if is_cut else 0
        if lost > CLAIMS_PER_FAULT * len(struck[uuid]):
            yield (
                f"file {uuid} was asked for {count} times in {attempts[uuid]} attempts and"
                f" {pauses[uuid]} pauses; struck by {[*map(str, struck[uuid])]}"
            )


def _lanes(flights: list[Flight], marks: Sequence[tuple[int, float]]) -> Iterator[str]:
    """Check that no case has more than five files in transfer; skip marked connections."""
    excused: dict[int, list[float]] = defaultdict(list)
    for port, until in marks:
        excused[port].append(until)
    by_case: dict[str, list[Flight]] = defaultdict(list)
    for flight in flights:
        if not any(flight.begin <= until for until in excused[flight.port]):
            by_case[digits(flight.number)].append(flight)
    for number, of_case in by_case.items():
        peak, at = _peak(of_case)
        if peak > LANES:
            yield f"case {number}: {peak} files were on their way at once ({at:.3f})"


def _peak(flights: list[Flight]) -> tuple[int, float]:
    """Return the highest number of transfers at once, and its time."""
    steps = sorted(
        [(f.begin, 1) for f in flights] + [(f.end, -1) for f in flights if f.end is not None]
    )
    peak, at, now = 0, 0.0, 0
    for moment, step in steps:
        now += step
        if now > peak:
            peak, at = now, moment
    return peak, at
