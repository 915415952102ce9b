"""Run one seed: start everything, run the jobs, inject faults, wait, check."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from autos.downloads.v1 import downloads_pb2 as pb
from tests.chaos.callers.job_starter import Driver
from tests.chaos.callers.mixed_workload import Mix, make_mixed_cases, mix_of
from tests.chaos.callers.retrying_client import RetryingClient
from tests.chaos.callers.standstills import Progress
from tests.chaos.callers.workload import make_cases, workload_of
from tests.chaos.chaos_environment import ChaosEnvironment, running_chaos_environment
from tests.chaos.chaos_options import ChaosOptions
from tests.chaos.checks import (
    check_batches,
    check_budget,
    check_documents,
    check_events,
    check_jobs,
    check_logs,
    check_portal,
    check_watches,
    check_webhooks,
    snapshot,
)
from tests.chaos.checks.snapshot import Snapshot
from tests.chaos.faults.fault_plan import PlannedFault, plan_of
from tests.chaos.faults.fault_runner import FaultRunner
from tests.chaos.faults.fault_windows import Windows
from tests.chaos.quiesce import end_mix, settle

# Faults continue for a little after the last job was started.
AFTER_LAST_START_S = 5.0


@dataclass(frozen=True)
class RunOutcome:
    """The results of a seed. `standstills_s`: by fault, seconds without progress of each job."""

    seed: int
    folder: Path
    problems: list[str]
    took_s: float
    settled_s: float
    faults: list[PlannedFault]
    job_ends: Counter[str]
    document_ends: Counter[str]
    acknowledged: int
    calls: int
    attempts: int
    deliveries: int
    statuses: Counter[tuple[str, str]]
    standstills_s: dict[str, list[float]] = field(default_factory=dict)


def run_seed(options: ChaosOptions, seed: int) -> RunOutcome:
    """Run one seed and check it. If a check fails, its logs and data stay."""
    folder = options.folder / f"seed-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    begun = time.monotonic()
    over_s = options.minutes * 60
    plans = workload_of(seed, jobs=options.jobs, documents=options.documents, over_s=over_s)
    mix = mix_of(seed, plans, over_s=over_s)
    with running_chaos_environment(
        folder, lease_s=options.lease_s, settings=mix.settings
    ) as environment:
        outcome = _played(options, seed, environment, mix, begun)
    if not outcome.problems and not options.is_kept:
        shutil.rmtree(folder)
    return outcome


def _played(
    options: ChaosOptions, seed: int, environment: ChaosEnvironment, mix: Mix, begun: float
) -> RunOutcome:
    until_s = options.minutes * 60 + AFTER_LAST_START_S
    faults = plan_of(seed, options.kinds, until_s=until_s, most=options.most_faults)
    environment.log(f"chaos    seed {seed}: {len(mix.jobs)} jobs, {len(faults)} faults")
    numbers = make_cases(environment.portal, mix.jobs)
    make_mixed_cases(environment.portal, mix)
    with RetryingClient(environment.address, environment.ledger) as client:
        progress = Progress(client)
        driver = Driver(environment, client, mix, numbers)
        breaking = FaultRunner(environment, faults)
        try:
            progress.start()
            breaking.start()
            driver.run()
            breaking.join()
            environment.log("chaos    the faults are over")
            calm = time.monotonic()
            driver.join()
            unsettled = end_mix(environment, client, mix, driver.case_watchers)
            unsettled += settle(environment, client)
            driver.reader.finish()
            settled_s = time.monotonic() - calm
        finally:
            breaking.stop()
            driver.stop()
            progress.stop()
        environment.log("chaos    everything is settled; looking")
        seen = snapshot.take(environment, client)
    windows = Windows(faults, environment.broken, environment.mended, lease_s=options.lease_s)
    problems = [
        *unsettled,
        *environment.ledger.problems,
        *_problems(environment, seen, windows, driver),
        *_mix_problems(environment, seen, mix, driver),
    ]
    for problem in problems:
        environment.log(f"problem  {problem}")
    return _outcome(seed, environment, seen, faults, progress, problems, settled_s, begun)


def _problems(
    environment: ChaosEnvironment, seen: Snapshot, windows: Windows, driver: Driver
) -> Iterator[str]:
    ledger, portal = environment.ledger, environment.portal
    yield from check_jobs.check(ledger, seen, driver.watchers)
    watched = {watcher.plan.number for watcher in driver.case_watchers}
    yield from check_documents.check(portal, seen, windows, watched)
    yield from check_documents.check_bucket(seen)
    yield from check_webhooks.check(ledger, seen)
    yield from check_portal.check(portal, seen, windows, environment.proxies["portal"].marks)
    yield from check_logs.check(environment.process_lines)


def _mix_problems(
    environment: ChaosEnvironment, seen: Snapshot, mix: Mix, driver: Driver
) -> Iterator[str]:
    yield from check_batches.check(environment.ledger, seen)
    yield from check_budget.check(seen, mix)
    yield from check_events.check(environment.ledger, seen, driver.reader.events)
    yield from check_watches.check(seen, driver.case_watchers)


def _outcome(
    seed: int,
    environment: ChaosEnvironment,
    seen: Snapshot,
    faults: list[PlannedFault],
    progress: Progress,
    problems: list[str],
    settled_s: float,
    begun: float,
) -> RunOutcome:
    calls, attempts = check_portal.calls_and_attempts(seen)
    standstills: dict[str, list[float]] = {}
    for fault in faults:
        if fault.number in environment.mended:
            found = progress.standstills(environment.mended[fault.number])
            standstills.setdefault(fault.kind, []).extend(found)
    documents = [d for of_job in seen.documents.values() for d in of_job]
    return RunOutcome(
        seed=seed,
        folder=environment.folder,
        problems=problems,
        took_s=time.monotonic() - begun,
        settled_s=settled_s,
        faults=[fault for fault in faults if fault.number in environment.mended],
        job_ends=Counter(_short(pb.JobState.Name(j.state)) for j in seen.jobs.values()),
        document_ends=Counter(_short(pb.DocumentState.Name(d.state)) for d in documents),
        acknowledged=len({start.job_id for start in environment.ledger.starts}),
        calls=calls,
        attempts=attempts,
        deliveries=len(seen.deliveries),
        statuses=environment.ledger.statuses,
        standstills_s=standstills,
    )


def _short(state: str) -> str:
    return state.partition("_STATE_")[2]
