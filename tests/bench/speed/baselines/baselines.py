"""Download the same cases in four ways: Autos, a plain loop, rclone, a Celery task per case."""

from __future__ import annotations

import csv
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import psycopg2

from dev.embedded.sandbox import ROOT
from dev.processes.deadline import until
from dev.processes.supervisor import Supervisor
from tests.bench.speed.portals.static_portal import Shelved, StaticPortal
from tests.bench.speed.profiling.cpu_time import spent_s
from tests.bench.speed.speed_environment import POLL_S, SpeedEnvironment, frozen
from tests.databases import create_database

TIMEOUT_S = 300.0
TRANSFERS = 5
# Like Autos: two downloading processes.
CLASSIC_PROCESSES = 2
CLASSIC_REDIS = "/7"
SETTLE_S = 0.2

# The documents of each case, by its number.
Cases = Mapping[str, Sequence[Shelved]]


@dataclass(frozen=True)
class Took:
    """Seconds from the first call to the last document, and CPU seconds of its processes."""

    seconds: float
    cpu_s: float


class Contender(Protocol):
    """A way to download cases; objects get keys below `prefix`, except those of Autos."""

    def fetch(self, cases: Cases, prefix: str) -> Took: ...


@dataclass(frozen=True)
class Autos:
    """Autos: a job per case."""

    stage: SpeedEnvironment

    def fetch(self, cases: Cases, prefix: str) -> Took:  # noqa: ARG002 - keys are its own
        leaders = self.stage.our_pids
        # Stopped while others ran, which no running Autos is.
        self.stage.await_scheduler()
        before, begun = spent_s(leaders), time.time()
        ids = [self.stage.start(number) for number in cases]
        ended = self.stage.await_ends(ids, TIMEOUT_S)
        # The cleaning up after the last document counts too.
        time.sleep(SETTLE_S)
        assert self.stage.our_pids == leaders, "A process was started again."
        return Took(ended - begun, spent_s(leaders) - before)


@dataclass(frozen=True)
class Loop:
    """A script of thirty lines."""

    stage: SpeedEnvironment
    portal: StaticPortal

    def fetch(self, cases: Cases, prefix: str) -> Took:
        settings = self.stage.settings
        orders = {
            "portal_url": self.portal.url,
            "numbers": list(cases),
            "endpoint_url": settings.s3_endpoint_url,
            "access_key_id": settings.s3_access_key_id,
            "secret_access_key": settings.s3_secret_access_key,
            "region": settings.s3_region,
            "bucket": settings.s3_bucket,
            "prefix": prefix,
        }
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.speed.baselines.loop_baseline"],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"]},
            input=json.dumps(orders),
            capture_output=True,
            text=True,
            check=True,
            timeout=TIMEOUT_S,
        )
        return Took(**json.loads(done.stdout))


@dataclass(frozen=True)
class Rclone:
    """`rclone copyurl` with a list of links; it gets the links and checks no content."""

    stage: SpeedEnvironment
    portal: StaticPortal

    def fetch(self, cases: Cases, prefix: str) -> Took:
        links = self.stage.folder / "links.csv"
        with links.open("w", newline="") as file:
            csv.writer(file).writerows(
                (f"{self.portal.url}/api/v2{each.href}", each.href.split("/")[-2] + ".pdf")
                for shelved in cases.values()
                for each in shelved
            )
        bucket = self.stage.settings.s3_bucket
        rclone = Path(sys.executable).with_name("rclone")
        command = [str(rclone), "copyurl", "--urls", str(links), f"s3:{bucket}/{prefix}"]
        options = ["--transfers", str(TRANSFERS), "--config", os.devnull]
        begun, before = time.time(), _children_s()
        subprocess.run(
            command + options, env=self._env(), check=True, timeout=TIMEOUT_S, capture_output=True
        )
        return Took(time.time() - begun, _children_s() - before)

    def _env(self) -> dict[str, str]:
        settings = self.stage.settings
        store = {
            "TYPE": "s3",
            "PROVIDER": "SeaweedFS",
            "ENDPOINT": settings.s3_endpoint_url,
            "ACCESS_KEY_ID": settings.s3_access_key_id,
            "SECRET_ACCESS_KEY": settings.s3_secret_access_key,
            "REGION": settings.s3_region,
            "NO_CHECK_BUCKET": "true",
        }
        return {f"RCLONE_CONFIG_S3_{name}": value for name, value in store.items()}


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@dataclass(frozen=True)
class Classic:
    """Celery with two processes, on the same PostgreSQL and Valkey."""

    leader: int
    _env: Mapping[str, str]

    def fetch(self, cases: Cases, prefix: str) -> Took:
        from celery import Celery

        wanted = sum(map(len, cases.values()))
        app = Celery(broker=self._env["CLASSIC_BROKER_URL"])
        with closing(psycopg2.connect(self._env["CLASSIC_DATABASE_URL"])) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("TRUNCATE document")
                before, begun = spent_s([self.leader]), time.time()
                for number in cases:
                    app.send_task("fetch_case", args=[number, prefix])
                deadline = begun + TIMEOUT_S
                while True:
                    cursor.execute(
                        "SELECT count(*), extract(epoch FROM max(updated)) FROM document"
                        " WHERE state = 'AVAILABLE'"
                    )
                    count, ended = cursor.fetchone() or (0, None)
                    if count == wanted:
                        return Took(float(ended) - begun, spent_s([self.leader]) - before)
                    if time.time() > deadline:
                        raise TimeoutError(f"Celery fetched {count} of {wanted} documents.")
                    time.sleep(POLL_S)


@contextmanager
def running_classic(stage: SpeedEnvironment, portal: StaticPortal) -> Iterator[Classic]:
    """Run a Celery worker for the length of the block."""
    redis = urlsplit(stage.stack.env["REDIS_URL"])
    env = {
        "CLASSIC_BROKER_URL": redis._replace(path=CLASSIC_REDIS).geturl(),
        "CLASSIC_DATABASE_URL": create_database(stage.stack.env["DATABASE_URL"], "classic"),
        "PDPJ_BASE_URL": portal.url,
        "PATH": os.environ["PATH"],
        "HOME": str(stage.folder),
        "PYTHONUNBUFFERED": "1",
        "S3_BUCKET": stage.settings.s3_bucket,
        **{name: value for name, value in stage.stack.env.items() if name.startswith("S3_")},
    }
    _make_table(env)
    lines: list[str] = []
    options = ("-c", str(CLASSIC_PROCESSES), "--loglevel", "INFO", "--without-gossip")
    app = ("-A", "tests.bench.speed.baselines.celery_baseline")
    words = (sys.executable, "-m", "celery", *app, "worker", *options, "--without-mingle")
    keeper = Supervisor({"celery": words}, env, ROOT, lines.append)
    try:
        keeper.start()
        until(
            lambda: any("ready." in line for line in lines),
            60,
            "Celery is not ready:\n" + "\n".join(lines[-20:]),
        )
        yield Classic(keeper.pid_of("celery") or 0, env)
    finally:
        keeper.stop()


def _make_table(env: Mapping[str, str]) -> None:
    """Create the table in a separate process: the module reads its environment on import."""
    make = (
        "import os; from tests.bench.speed.baselines.celery_baseline import database, Document;"
        " database.init(os.environ['CLASSIC_DATABASE_URL']); database.create_tables([Document])"
    )
    subprocess.run([sys.executable, "-c", make], cwd=ROOT, env=dict(env), check=True)


@contextmanager
def alone(pids: Sequence[int]) -> Iterator[None]:
    """Suspend the other contenders' processes for the length of the block; `pids` are theirs."""
    with frozen(pids):
        yield
    # A delayed heartbeat is sent before its absence is detected.
    time.sleep(SETTLE_S)
