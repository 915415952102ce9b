"""One seed: start everything, run the jobs, break things, wait, check."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from autos.downloads.v1 import downloads_pb2 as pb
from tests.chaos import (
    check_documents,
    check_jobs,
    check_logs,
    check_portal,
    check_webhooks,
    snapshot,
)
from tests.chaos.client import Client
from tests.chaos.drive import Driver
from tests.chaos.faults import Faults
from tests.chaos.options import Options
from tests.chaos.plan import Fault, plan_of
from tests.chaos.progress import Progress
from tests.chaos.settle import settle
from tests.chaos.snapshot import Snapshot
from tests.chaos.windows import Windows
from tests.chaos.workload import make_cases, workload_of
from tests.chaos.world import World, running_world

# Faults go on for a little after the last job was started.
AFTER_LAST_START_S = 5.0


@dataclass(frozen=True)
class Outcome:
    """What a seed showed. `standstills_s`: by fault, how long each running job stood still."""

    seed: int
    folder: Path
    problems: list[str]
    took_s: float
    settled_s: float
    faults: list[Fault]
    job_ends: Counter[str]
    document_ends: Counter[str]
    acknowledged: int
    calls: int
    attempts: int
    deliveries: int
    statuses: Counter[tuple[str, str]]
    standstills_s: dict[str, list[float]] = field(default_factory=dict)


def run_seed(options: Options, seed: int) -> Outcome:
    """Run one seed and check it. Its logs and data stay if something is wrong."""
    folder = options.folder / f"seed-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    begun = time.monotonic()
    with running_world(folder, lease_s=options.lease_s) as world:
        outcome = _played(options, seed, world, begun)
    if not outcome.problems and not options.is_kept:
        shutil.rmtree(folder)
    return outcome


def _played(options: Options, seed: int, world: World, begun: float) -> Outcome:
    over_s = options.minutes * 60
    faults = plan_of(
        seed, options.kinds, until_s=over_s + AFTER_LAST_START_S, most=options.most_faults
    )
    plans = workload_of(seed, jobs=options.jobs, documents=options.documents, over_s=over_s)
    world.log(f"chaos    seed {seed}: {len(plans)} jobs, {len(faults)} faults")
    numbers = make_cases(world.portal, plans)
    with Client(world.address, world.ledger) as client:
        progress = Progress(client)
        driver = Driver(world, client, plans, numbers)
        breaking = Faults(world, faults)
        try:
            progress.start()
            breaking.start()
            driver.run()
            breaking.join()
            world.log("chaos    the faults are over")
            calm = time.monotonic()
            driver.join()
            unsettled = settle(world, client)
            settled_s = time.monotonic() - calm
        finally:
            breaking.stop()
            driver.stop()
            progress.stop()
        world.log("chaos    everything is settled; looking")
        seen = snapshot.take(world, client)
    windows = Windows(faults, world.broken, world.mended, lease_s=options.lease_s)
    problems = [*unsettled, *world.ledger.problems, *_problems(world, seen, windows, driver)]
    for problem in problems:
        world.log(f"problem  {problem}")
    return _outcome(seed, world, seen, faults, progress, problems, settled_s, begun)


def _problems(world: World, seen: Snapshot, windows: Windows, driver: Driver) -> Iterator[str]:
    ledger, portal = world.ledger, world.portal
    yield from check_jobs.check(ledger, seen, driver.watchers)
    yield from check_documents.check(portal, seen, windows)
    yield from check_documents.check_bucket(seen)
    yield from check_webhooks.check(ledger, seen)
    yield from check_portal.check(portal, seen, windows, world.proxies["portal"].marks)
    yield from check_logs.check(world.process_lines)


def _outcome(
    seed: int,
    world: World,
    seen: Snapshot,
    faults: list[Fault],
    progress: Progress,
    problems: list[str],
    settled_s: float,
    begun: float,
) -> Outcome:
    calls, attempts = check_portal.calls_and_attempts(seen)
    standstills: dict[str, list[float]] = {}
    for fault in faults:
        if fault.number in world.mended:
            found = progress.standstills(world.mended[fault.number])
            standstills.setdefault(fault.kind, []).extend(found)
    documents = [d for of_job in seen.documents.values() for d in of_job]
    return Outcome(
        seed=seed,
        folder=world.folder,
        problems=problems,
        took_s=time.monotonic() - begun,
        settled_s=settled_s,
        faults=[fault for fault in faults if fault.number in world.mended],
        job_ends=Counter(_short(pb.JobState.Name(j.state)) for j in seen.jobs.values()),
        document_ends=Counter(_short(pb.DocumentState.Name(d.state)) for d in documents),
        acknowledged=len({start.job_id for start in world.ledger.starts}),
        calls=calls,
        attempts=attempts,
        deliveries=len(seen.deliveries),
        statuses=world.ledger.statuses,
        standstills_s=standstills,
    )


def _short(state: str) -> str:
    return state.partition("_STATE_")[2]
