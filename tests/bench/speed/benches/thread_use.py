"""Measure how much of their threads worker processes use, when every document takes 0.4 s."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from dev.embedded.sandbox import ROOT
from dev.processes.supervisor import read_procfile
from tests.bench.speed.goals import Result, at_least
from tests.bench.speed.latency_model import LogNormalLatency
from tests.bench.speed.portals.waiting_portal import running_waiting_portal
from tests.bench.speed.run_config import RunConfig
from tests.bench.speed.speed_environment import SpeedEnvironment, running_environment, scratch

NAME = "concurrency"
LATENCY_S = 0.4
PROCESSES = (1, 2, 4)
DOCUMENTS = 20
GOAL = 0.9
# Generous for a busy machine; only a run without progress reaches it.
PATIENCE_S = 600.0


def run(config: RunConfig, console: Console) -> Result:
    """Run all jobs at once, with each number of processes in turn."""
    jobs = 20 if config.is_quick else 100
    shares: dict[int, list[float]] = {count: [] for count in PROCESSES}
    with (
        scratch() as folder,
        running_waiting_portal(LogNormalLatency(LATENCY_S, 0, 1), lambda _: None) as url,
        running_environment(url, procfile=_procfile(folder)) as stage,
    ):
        for name in map(_name, PROCESSES):
            stage.stack.processes.hold(name)
        for round_ in range(1, config.rounds + 1):
            for count in PROCESSES:
                shares[count].append(_share(stage, count, jobs))
                share = f"{count} processes: {shares[count][-1]:.1%}"
                console.print(f"  round {round_}, {share} of what is possible", style="dim")
    goals = [
        at_least(f"{jobs} jobs, {count} worker processes: of the possible", GOAL, values)
        for count, values in shares.items()
    ]
    threads = stage.settings.worker_threads
    note = f"possible: a document every {LATENCY_S} s in each of the {threads} threads of a process"
    return Result(NAME, goals, shares, [note])


def _name(count: int) -> str:
    return f"worker-{count}"


def _procfile(folder: Path) -> Path:
    """Return a Procfile with a line for each number of worker processes."""
    lines = read_procfile(ROOT / "Procfile")
    worker = lines.pop("worker")
    lines |= {_name(count): f"env WORKER_PROCESSES={count} {worker}" for count in PROCESSES}
    file = folder / "Procfile"
    file.write_text("".join(f"{name}: {command}\n" for name, command in lines.items()))
    return file


def _share(stage: SpeedEnvironment, count: int, jobs: int) -> float:
    """Return the documents per second as a fraction of what lanes and threads allow."""
    name = _name(count)
    stage.stack.processes.release(name)
    try:
        stage.await_workers(name, count)
        # Every process has imported its modules and connected.
        stage.run_jobs([stage.new_number(documents=count * 10)], timeout_s=PATIENCE_S)
        at_once = min(jobs * stage.settings.lanes_per_job, count * stage.settings.worker_threads)
        ideal_s = jobs * DOCUMENTS * LATENCY_S / at_once
        numbers = [stage.new_number(documents=DOCUMENTS) for _ in range(jobs)]
        return ideal_s / stage.run_jobs(numbers, timeout_s=PATIENCE_S)
    finally:
        stage.stack.processes.hold(name)
