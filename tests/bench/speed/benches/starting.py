"""Measure StartDownload under load: calls per second of one server process, and latencies."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import asdict, dataclass

import psycopg2
import redis
from rich.console import Console

from dev.embedded.sandbox import ROOT
from tests.bench.speed.goals import Result, at_least, at_most
from tests.bench.speed.load_spec import LoadSpec
from tests.bench.speed.run_config import RunConfig
from tests.bench.speed.speed_environment import SpeedEnvironment, running_environment

NAME = "starting"
# Enough callers to saturate the server; with fewer, each call's round trip dominates.
PROCESSES, THREADS, FEW_THREADS = 2, 32, 8
LEAST, P99_MS = 0.5, 50.0
# Seconds for all callers to receive the starting time.
LEAD_S = 0.3
# A number far from those of other processes.
PROCESS_SPAN = 1_000_000
# No worker runs: this bench measures the server alone.
HELD = ("worker", "uploader", "notifier", "scheduler")
NOWHERE = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Calls:
    """The callers' measurements."""

    per_s: float
    p50_ms: float
    p99_ms: float


def run(config: RunConfig, console: Console) -> Result:
    """Run bare inserts, StartDownload at full and at half rate; then both with few callers."""
    seconds = 1.5 if config.is_quick else 4.0
    rounds: list[dict[str, Calls]] = []
    with running_environment(NOWHERE) as stage:
        for name in HELD:
            stage.stack.processes.hold(name)
        _make_table(stage)
        for round_ in range(1, config.rounds + 1):
            found = {"bare": _calls(stage, round_, seconds, address="")}
            found["full"] = _calls(stage, round_, seconds, address=stage.address)
            interval_s = 2 * PROCESSES * THREADS / found["full"].per_s
            found["half"] = _calls(
                stage, round_, seconds, address=stage.address, interval_s=interval_s
            )
            found["few, bare"] = _calls(stage, round_, seconds, threads=FEW_THREADS, address="")
            found["few"] = _calls(
                stage, round_, seconds, threads=FEW_THREADS, address=stage.address
            )
            rounds.append(found)
            formatted = "; ".join(
                f"{name} {each.per_s:.0f}/s, p50 {each.p50_ms:.1f}, p99 {each.p99_ms:.1f} ms"
                for name, each in found.items()
            )
            console.print(f"  round {round_}: {formatted}", style="dim", highlight=False)
    ratios = [found["full"].per_s / found["bare"].per_s for found in rounds]
    p99 = [found["half"].p99_ms for found in rounds]
    goals = [
        at_least("calls/s, of a bare INSERT + COMMIT + message", LEAST, ratios, " x"),
        at_most("p99 at half load", P99_MS, p99, " ms"),
    ]
    figures = [{name: asdict(each) for name, each in found.items()} for found in rounds]
    per_s = statistics.median(found["full"].per_s for found in rounds)
    few = statistics.median(found["few"].per_s / found["few, bare"].per_s for found in rounds)
    note = (
        f"{PROCESSES} processes of {THREADS} callers each; {per_s:.0f} calls/s (median). With"
        f" {FEW_THREADS} callers each {few:.2f} x. The callers take their share of the same"
        " processors, those of gRPC more than the bare ones"
    )
    return Result(NAME, goals, figures, [note])


def _make_table(stage: SpeedEnvironment) -> None:
    """Create a second table of jobs, with all constraints and indexes."""
    with stage.database.transaction() as transaction:
        transaction.run("CREATE TABLE bare_jobs (LIKE jobs INCLUDING ALL)")


def _clear(stage: SpeedEnvironment) -> None:
    with closing(psycopg2.connect(stage.settings.database_url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE jobs, bare_jobs CASCADE")
    with redis.Redis.from_url(stage.settings.redis_url) as client:
        client.flushdb()


def _calls(
    stage: SpeedEnvironment,
    round_: int,
    seconds: float,
    *,
    address: str,
    interval_s: float = 0.0,
    threads: int = THREADS,
) -> Calls:
    _clear(stage)
    callers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.bench.speed.load_generator"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(PROCESSES)
    ]
    for place, caller in enumerate(callers):
        orders = LoadSpec(
            address=address,
            database_url=stage.settings.database_url,
            redis_url=stage.settings.redis_url,
            threads=threads,
            seconds=seconds,
            interval_s=interval_s,
            year=2000 + round_,
            first=1 + place * PROCESS_SPAN,
        )
        _write_line(caller, json.dumps(asdict(orders)))
    for caller in callers:
        assert caller.stdout
        assert caller.stdout.readline() == "ready\n"
    begin = time.time() + LEAD_S
    for caller in callers:
        _write_line(caller, str(begin))
    pairs: list[tuple[float, float]] = []
    for caller in callers:
        pairs += json.loads(caller.communicate(timeout=120)[0])
        assert caller.returncode == 0
    return _of(pairs)


def _write_line(caller: subprocess.Popen[str], line: str) -> None:
    assert caller.stdin
    caller.stdin.write(line + "\n")
    caller.stdin.flush()


def _of(pairs: list[tuple[float, float]]) -> Calls:
    begun, ended = min(begin for begin, _ in pairs), max(end for _, end in pairs)
    latencies = sorted(1000 * (end - begin) for begin, end in pairs)
    p99 = latencies[min(len(latencies) - 1, int(0.99 * len(latencies)))]
    return Calls(len(pairs) / (ended - begun), statistics.median(latencies), p99)
