"""Measure memory and time for one document of 1 GiB, in comparison with curl and an S3 upload."""

from __future__ import annotations

import subprocess
import sys
import time

from rich.console import Console

from dev.embedded.sandbox import ROOT
from tests.bench.speed.goals import Result, at_least, at_most
from tests.bench.speed.portals.static_portal import Page, StaticPortal, running_static_portal
from tests.bench.speed.run_config import RunConfig
from tests.bench.speed.speed_environment import SpeedEnvironment, running_environment, scratch
from tests.system.memory import MIB, PeakMemory

NAME = "large-document"
MEMORY_MIB = 64.0
LEAST = 0.8
TIMEOUT_S = 900.0
PROCESSES = ("worker", "uploader")


def run(config: RunConfig, console: Console) -> Result:
    """Run both alternately, each with its own key."""
    size_bytes = (128 if config.is_quick else 1024) * MIB
    rounds: list[dict[str, float]] = []
    with (
        scratch() as folder,
        running_static_portal(folder, lambda _: None) as portal,
        running_environment(portal.url, DOCUMENT_DEADLINE_S="900") as stage,
    ):
        (small,) = portal.shelf(1, 20 * 1024)
        (page,) = portal.shelf(1, size_bytes)
        for _ in range(8):  # Every process has imported its modules and connected.
            _autos(stage, portal, small)
        for round_ in range(1, config.rounds + 1):
            found = {"piped_s": _piped(stage, portal, page), **_autos(stage, portal, page)}
            rounds.append(found)
            figures = ", ".join(f"{name} {value:.1f}" for name, value in found.items())
            console.print(f"  round {round_}: {figures}", style="dim", highlight=False)
    goals = [
        *(
            at_most(
                f"memory of {name} above idle",
                MEMORY_MIB,
                [found[f"{name}_mib"] for found in rounds],
                " MiB",
            )
            for name in PROCESSES
        ),
        at_least(
            f"{size_bytes // MIB} MiB: speed, of curl piped into an S3 put",
            LEAST,
            [found["piped_s"] / found["autos_s"] for found in rounds],
            " x",
        ),
    ]
    note = "the S3 put is minio's own of unknown length, parts of 8 MiB, three at a time"
    return Result(NAME, goals, rounds, [note])


def _autos(stage: SpeedEnvironment, portal: StaticPortal, page: Page) -> dict[str, float]:
    """Return the seconds of a job, and the MiB by which each kind of process grew at most."""
    number = stage.new_number()
    portal.add_case(number, [page])
    peaks = {name: [PeakMemory(pid) for pid in stage.worker_pids(name)] for name in PROCESSES}
    seconds = stage.run_jobs([number], timeout_s=TIMEOUT_S)
    grown = {
        f"{name}_mib": max(peak.added_bytes() for peak in each) / MIB
        for name, each in peaks.items()
    }
    row = stage.only(
        "SELECT object_key, sha256 FROM documents JOIN jobs USING (job_id)"
        " WHERE process_number = %(number)s",
        number=number,
    )
    assert row["sha256"] == page.sha256
    _remove(stage, row["object_key"], page)
    return {"autos_s": seconds, **grown}


def _piped(stage: SpeedEnvironment, portal: StaticPortal, page: Page) -> float:
    """Return the seconds of `curl | put`."""
    (shelved,) = portal.add_case(stage.new_number(), [page])
    key = f"piped/{time.time_ns()}.pdf"
    env = {**stage.stack.env, "S3_BUCKET": stage.settings.s3_bucket}
    begun = time.time()
    with subprocess.Popen(
        ["curl", "--silent", "--fail", f"{portal.url}/api/v2{shelved.href}"],
        stdout=subprocess.PIPE,
    ) as curl:
        words = [sys.executable, "-m", "tests.bench.speed.baselines.pipe_baseline", key]
        subprocess.run(words, cwd=ROOT, env=env, stdin=curl.stdout, check=True, timeout=TIMEOUT_S)
    seconds = time.time() - begun
    assert curl.returncode == 0, "curl failed"
    _remove(stage, key, page)
    return seconds


def _remove(stage: SpeedEnvironment, key: str, page: Page) -> None:
    """Delete the object after a check of its size."""
    assert stage.bucket.stat_object(stage.settings.s3_bucket, key).size == page.size_bytes
    stage.bucket.remove_object(stage.settings.s3_bucket, key)
