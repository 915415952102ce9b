"""Measure whether calls stay as fast when the database holds a million ended jobs."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import psycopg2
from rich.console import Console

from autos.downloads.v1 import downloads_pb2 as pb
from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from dev.embedded.sandbox import ROOT
from dev.processes.deadline import until
from dev.processes.supervisor import Supervisor
from dev.stack import is_serving
from tests.bench.speed.benches.starting import HELD, NOWHERE
from tests.bench.speed.goals import Result, at_most
from tests.bench.speed.run_config import RunConfig
from tests.bench.speed.speed_environment import CALL_S, SpeedEnvironment, running_environment
from tests.databases import create_database
from tests.sandbox.court_cases.cnj import process_number
from tests.system.running_autos import free_port

NAME = "many-jobs"
GOAL = 2.0
# Enough for the requested pages, in both.
FEW = 2_000
MANY = 1_000_000
START_S = 60.0
YEAR = 2024
# One in fifty failed. The check digits are valid, since callers name these cases.
_FILL = """
INSERT INTO jobs (job_id, client, process_number, state, revision, total_documents,
    completed_documents, failed_documents, error_reason, error_message, error_is_retryable,
    create_time, start_time, update_time, end_time, deadline_time, max_age_s, listed_time)
SELECT gen_random_uuid(), 'default',
    lpad(i::text, 7, '0') || '-'
        || lpad((98 - (i::numeric * 10000000000000 + 2024826010000) %% 97)::int::text, 2, '0')
        || '.2024.8.26.0100',
    CASE WHEN bad THEN 'FAILED' ELSE 'COMPLETED' END, 5, 1,
    (NOT bad)::int, bad::int, CASE WHEN bad THEN 'PORTAL_ERROR' END, CASE WHEN bad THEN 'x' END,
    CASE WHEN bad THEN true END, at, at, at, at, at + interval '1 day', 3600, at
FROM (SELECT i, i %% 50 = 0 AS bad, clock_timestamp() - (%(jobs)s - i) * interval '10 seconds' AS at
    FROM generate_series(1, %(jobs)s) AS i) AS made
"""

Call = Callable[[int], object]


@dataclass(frozen=True)
class Side:
    """A server on a database with `jobs` ended jobs."""

    jobs: int
    api: Any
    database_url: str
    ids: list[str]

    def calls(self, round_: int) -> dict[str, Call]:
        """Return the n-th calls, by name."""
        page = self.api.ListJobs(pb.ListJobsRequest(), timeout=CALL_S)
        failed = [pb.JOB_STATE_FAILED]
        return {
            "GetStatus": lambda n: self._status(job_id=self.ids[n % len(self.ids)]),
            "GetStatus of a case": lambda n: self._status(process_number=self._number(n)),
            "ListJobs": lambda _: self._list(),
            "ListJobs, second page": lambda _: self._list(page_token=page.next_page_token),
            "ListJobs of a case": lambda n: self._list(process_number=self._number(n)),
            "ListJobs, failed": lambda _: self._list(states=failed),
            "StartDownload": lambda n: self.api.StartDownload(
                pb.StartDownloadRequest(process_number=process_number(n + 1, 1970 + round_)),
                timeout=CALL_S,
            ),
            "StartDownload again": lambda n: self.api.StartDownload(
                pb.StartDownloadRequest(process_number=self._number(n)), timeout=CALL_S
            ),
        }

    def _number(self, n: int) -> str:
        return process_number(1 + n * 7919 % self.jobs, YEAR)

    def _status(self, **fields: str) -> object:
        return self.api.GetStatus(pb.GetStatusRequest(**fields), timeout=CALL_S)

    def _list(self, **fields: Any) -> object:
        return self.api.ListJobs(pb.ListJobsRequest(page_size=50, **fields), timeout=CALL_S)

    def clear(self) -> None:
        """Remove the running jobs."""
        with closing(psycopg2.connect(self.database_url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("DELETE FROM jobs WHERE end_time IS NULL")


def run(config: RunConfig, console: Console) -> Result:
    """Make each call to both servers alternately."""
    many = MANY // 10 if config.is_quick else MANY
    calls = 100 if config.is_quick else 300
    rounds: list[dict[str, dict[str, float]]] = []
    with running_environment(NOWHERE) as stage:
        for name in HELD:
            stage.stack.processes.hold(name)
        begun = time.monotonic()
        with _side(stage, FEW) as few, _side(stage, many) as full:
            console.print(f"  {many} jobs made in {time.monotonic() - begun:.0f} s", style="dim")
            _p99s(few, full, 0, 20)
            for round_ in range(1, config.rounds + 1):
                rounds.append(_p99s(few, full, round_, calls))
                ratios = ", ".join(f"{name} {e['ratio']:.2f}" for name, e in rounds[-1].items())
                console.print(f"  round {round_}, p99: {ratios}", style="dim", highlight=False)
    goals = [
        at_most(
            f"{many} ended jobs: p99 of {name}",
            GOAL,
            [each[name]["ratio"] for each in rounds],
            " x",
        )
        for name in rounds[0]
    ]
    note = f"of the p99 with {FEW} jobs in the database, so that a page is as full in both"
    return Result(NAME, goals, rounds, [note])


def _p99s(few: Side, full: Side, round_: int, calls: int) -> dict[str, dict[str, float]]:
    """Return the milliseconds of each call to both servers in turn, under the same noise."""
    found = {}
    for name, in_few in few.calls(round_).items():
        in_full = full.calls(round_)[name]
        took: dict[str, list[float]] = {"few": [], "full": []}
        for n in range(calls):
            for side, call in (("few", in_few), ("full", in_full)):
                begun = time.perf_counter()
                call(n)
                took[side].append(1000 * (time.perf_counter() - begun))
        p99 = {side: sorted(each)[int(0.99 * len(each))] for side, each in took.items()}
        p50 = {f"{side} p50": statistics.median(each) for side, each in took.items()}
        found[name] = {"ratio": p99["full"] / p99["few"], **p99, **p50}
    few.clear()
    full.clear()
    return found


@contextmanager
def _side(stage: SpeedEnvironment, jobs: int) -> Iterator[Side]:
    """Run a server of its own on its own database and bucket: a bucket has one installation."""
    url = create_database(stage.settings.database_url, f"with_{jobs}")
    address = f"127.0.0.1:{free_port()}"
    own = {"DATABASE_URL": url, "S3_BUCKET": f"with-{jobs}", "GRPC_LISTEN": address}
    env = {**stage.stack.env, **own}
    subprocess.run(
        [sys.executable, "-m", "storage.release"],
        cwd=ROOT,
        env=env,
        check=True,
        capture_output=True,
    )
    ids = _fill(url, jobs)
    lines: list[str] = []
    words = (sys.executable, "-m", "server")
    keeper = Supervisor({f"server-{jobs}": words}, env, ROOT, lines.append)
    try:
        keeper.start()
        until(lambda: is_serving(address), START_S, "\n".join(["No server:", *lines[-10:]]))
        with grpc.insecure_channel(address) as channel:
            yield Side(jobs, pb_grpc.DownloadServiceStub(channel), url, ids)
    finally:
        keeper.stop()


def _fill(url: str, jobs: int) -> list[str]:
    """Insert ended jobs; return the ids of some of them."""
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(_FILL, {"jobs": jobs})
            cursor.execute("VACUUM ANALYZE jobs")
            cursor.execute("CHECKPOINT")
            cursor.execute("SELECT job_id::text FROM jobs ORDER BY md5(job_id::text) LIMIT 500")
            return [str(row[0]) for row in cursor.fetchall()]
