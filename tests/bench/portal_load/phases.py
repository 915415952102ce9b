"""Run the two parts: many jobs within the limit, and a portal with a limit below ours."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from rich.console import Console

from tests.bench.portal_load import bench_checks, figures_table
from tests.bench.portal_load.bench_checks import Check
from tests.bench.portal_load.bench_environment import CLIENTS, COURTS, BenchEnvironment
from tests.bench.portal_load.bench_options import MEAN_S, BenchOptions
from tests.bench.traffic import journal_figures, slot_usage
from tests.bench.traffic.slot_usage import Room

# The portal's own limit, whatever our settings are.
LIMIT = 10
# Far above the duration of a run, so that only a run without progress reaches it.
PATIENCE = 6
LOWERED_LIMIT, RETRY_AFTER_S = 3, 3.0


@dataclass(frozen=True)
class Part:
    """The results of a part of the run."""

    name: str
    checks: list[Check]
    figures: dict[str, Any]


def crowd(environment: BenchEnvironment, options: BenchOptions, console: Console) -> Part:
    """Run all jobs at once, with log-normal latencies and bursts of 503."""
    environment.portal.limit(LIMIT, retry_after_s=RETRY_AFTER_S)
    environment.portal.latency(options.latency)
    room = Room(
        LIMIT,
        environment.settings.pdpj_max_concurrent_per_court,
        environment.settings.lanes_per_job,
    )
    plan = [
        (client, environment.add_case(court, documents))
        for client, court, documents in options.plan()
    ]
    bursts = options.bursts(LIMIT)
    console.print(f"{len(plan)} jobs, {sum(environment.documents.values())} documents")
    environment.portal.clear()
    planned = environment.portal.plan(bursts)
    ids = [environment.start(client, number) for client, number in plan]
    _await(environment, ids, sum(environment.documents.values()))
    jobs, visits, counts = (
        environment.jobs(ids),
        environment.portal.visits(),
        environment.portal.counts(),
    )
    away = slot_usage.outages(bursts, planned, visits, jobs)
    use = slot_usage.use(slot_usage.slices(visits, jobs, away), jobs, room, away)
    waits = journal_figures.waits(visits, jobs)
    expected = sum(1 if burst.court else len({job.court for job in jobs}) for burst in bursts)
    found = [
        *bench_checks.of_limits(counts, room),
        *bench_checks.of_use(
            use, away, expected, probe_base_s=environment.settings.pdpj_probe_base_ms / 1000
        ),
        *bench_checks.of_turns(use),
        *bench_checks.of_jobs(jobs, environment.documents, visits),
        *bench_checks.of_logs(environment.lines),
    ]
    burnt = journal_figures.attempts_burnt(visits, jobs)
    rate = sum(v.kind == "file" and v.status == journal_figures.GOOD for v in visits) / use.seconds
    figures_table.print_checks(console, "a crowd, and bursts of 503", found)
    figures_table.print_timeline(console, visits, LIMIT)
    console.print(
        f"{rate:.1f} documents per second of {rate / (use.ratio or 1):.1f} possible;"
        f" attempts that met a 503 of their own: {burnt.by_outages}"
    )
    figures_table.print_waits(console, waits, use.share)
    return Part(
        "crowd",
        found,
        {
            **_common(found),
            "counts": asdict(counts),
            "use": {**asdict(use), "ratio": use.ratio, "documents_per_s": rate},
            "attempts_burnt": asdict(burnt),
            "outages": [asdict(outage) for outage in away],
            "waits": {client: asdict(each) for client, each in waits.items()},
        },
    )


def pauses(environment: BenchEnvironment, options: BenchOptions, console: Console) -> Part:
    """Run against a portal that allows less than our settings for some seconds: it answers 429."""
    plan = [
        (CLIENTS[i % 2], environment.add_case(COURTS[i % len(COURTS)], options.documents))
        for i in range(min(10, options.jobs))
    ]
    environment.portal.plan([])
    environment.portal.clear()
    ids = [environment.start(client, number) for client, number in plan]
    # In the middle of the work: after twice as many requests as may be in flight at once.
    deadline = time.monotonic() + 60
    while len(environment.portal.visits()) < 2 * LIMIT and time.monotonic() < deadline:
        time.sleep(0.1)
    environment.portal.limit(LOWERED_LIMIT, retry_after_s=RETRY_AFTER_S)
    time.sleep(options.seconds)
    environment.portal.limit(LIMIT, retry_after_s=RETRY_AFTER_S)
    _await(environment, ids, len(plan) * options.documents)
    jobs, visits = environment.jobs(ids), environment.portal.visits()
    found = [
        *bench_checks.of_pauses(visits),
        *bench_checks.of_jobs(jobs, environment.documents, visits),
        *bench_checks.of_logs(environment.lines),
    ]
    title = f"a limit of {LOWERED_LIMIT} for {options.seconds:.0f} s: pauses of {RETRY_AFTER_S:g} s"
    figures_table.print_checks(console, title, found)
    figures_table.print_timeline(console, visits, LIMIT)
    kept = journal_figures.pauses(visits, grace_s=bench_checks.GRACE_S)
    return Part("pauses", found, {**_common(found), **asdict(kept)})


def _await(environment: BenchEnvironment, ids: Sequence[UUID], documents: int) -> None:
    environment.await_ends(ids, 120 + PATIENCE * documents * MEAN_S / LIMIT)


def _common(found: Sequence[Check]) -> dict[str, Any]:
    return {"checks": [asdict(check) for check in found]}
