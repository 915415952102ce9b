"""Measure whether memory and database work stay constant in a job of 20,000 documents."""

from __future__ import annotations

import itertools
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from tests.bench.speed.goals import Result, at_most
from tests.bench.speed.portals.static_portal import running_static_portal
from tests.bench.speed.run_config import RunConfig
from tests.bench.speed.speed_environment import SpeedEnvironment, running_environment, scratch
from tests.system.memory import MIB
from tests.system.running_processes import family

NAME = "large-job"
SIZE_BYTES = 2_048
PAGES = 100
# More than the default, to save time: this bench does not measure speed.
LANES = "20"
# Where the slices begin and end: after the listing, and before the end.
MARKS = (0.02, 0.25, 0.5, 0.75, 0.98)
GROWTH_MIB = 16.0
WORK = 1.2
POLL_S = 0.2
TIMEOUT_S = 3_600.0
_WORK = """
SELECT tup_returned + tup_fetched AS tuples, blks_hit + blks_read AS blocks,
    xact_commit AS commits, clock_timestamp() AS time
FROM pg_stat_database WHERE datname = current_database()
"""


@dataclass(frozen=True)
class Mark:
    """The figures at a number of stored documents. Memory in MiB, by process."""

    documents: int
    seconds: float
    tuples: int
    blocks: int
    commits: int
    memory: dict[str, float]


def run(config: RunConfig, console: Console) -> Result:
    """Run one job: the figures do not depend on the load of the machine."""
    documents = 1_000 if config.is_quick else 20_000
    with (
        scratch() as folder,
        running_static_portal(folder, lambda _: None) as portal,
        running_environment(portal.url, LANES_PER_JOB=LANES) as stage,
    ):
        pages = portal.shelf(PAGES, SIZE_BYTES)
        number = stage.new_number()
        portal.add_case(number, list(itertools.islice(itertools.cycle(pages), documents)))
        warm = stage.new_number()
        portal.add_case(warm, pages)
        stage.run_jobs([warm], timeout_s=300)
        marks = _marks(stage, number, documents, console)
    slices = [_slice(begin, end) for begin, end in itertools.pairwise(marks)]
    grown = {
        name: marks[-1].memory[name] - mib
        for name, mib in marks[1].memory.items()
        if name in marks[-1].memory
    }
    worst = max(grown, key=lambda name: grown[name])
    goals = [
        at_most(
            f"{documents} documents: memory gained after the first quarter",
            GROWTH_MIB,
            [grown[worst]],
            " MiB",
        ),
        *(
            at_most(
                f"{what} read per document, dearest quarter to cheapest",
                WORK,
                [max(each[what] for each in slices) / min(each[what] for each in slices)],
                " x",
            )
            for what in ("tuples", "blocks")
        ),
    ]
    per_s = documents / marks[-1].seconds
    notes = [
        f"{per_s:.0f} documents/s; most memory was gained by {worst}",
        "quarters: "
        + "; ".join(", ".join(f"{k} {v:.1f}" for k, v in each.items()) for each in slices),
    ]
    return Result(NAME, goals, {"marks": [asdict(mark) for mark in marks]}, notes)


def _marks(stage: SpeedEnvironment, number: str, documents: int, console: Console) -> list[Mark]:
    begun = time.monotonic()
    job_id = stage.start(number)
    marks: list[Mark] = []
    for share in MARKS:
        while (stored := _stored(stage, job_id)) < share * documents:
            if time.monotonic() > begun + TIMEOUT_S:
                raise TimeoutError(f"{stored} of {documents} documents after {TIMEOUT_S:.0f} s")
            time.sleep(POLL_S)
        seconds = time.monotonic() - begun
        row = stage.only(_WORK)
        numbers = (int(row["tuples"]), int(row["blocks"]), int(row["commits"]))
        marks.append(Mark(stored, seconds, *numbers, _memory(stage)))
        console.print(f"  {stored} documents after {seconds:.0f} s", style="dim", highlight=False)
    stage.await_ends([job_id], TIMEOUT_S)
    return marks


def _stored(stage: SpeedEnvironment, job_id: object) -> int:
    sql = "SELECT completed_documents AS stored FROM jobs WHERE job_id = %(job_id)s"
    return int(stage.only(sql, job_id=job_id)["stored"])


def _slice(begin: Mark, end: Mark) -> dict[str, float]:
    """Return the figures per document."""
    documents = end.documents - begin.documents
    return {
        "tuples": (end.tuples - begin.tuples) / documents,
        "blocks": (end.blocks - begin.blocks) / documents,
        "commits": (end.commits - begin.commits) / documents,
        "ms": 1000 * (end.seconds - begin.seconds) / documents,
    }


def _memory(stage: SpeedEnvironment) -> dict[str, float]:
    """Return the MiB of each of our processes."""
    processes = stage.stack.processes
    leaders = {name: pid for name in processes.names if (pid := processes.pid_of(name))}
    return {
        f"{name} {pid}": _resident_bytes(pid) / MIB
        for name, leader in leaders.items()
        for pid in family(leader)
    }


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096
