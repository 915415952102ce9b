"""Measure the time of one document on an idle system, beyond the portal and the bucket."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

import requests
from minio import Minio
from rich.console import Console

from autos.downloads.v1 import downloads_pb2 as pb
from tests.bench.speed.goals import Result, at_most
from tests.bench.speed.portals.static_portal import Page, StaticPortal, running_static_portal
from tests.bench.speed.run_config import RunConfig
from tests.bench.speed.speed_environment import (
    CALL_S,
    SpeedEnvironment,
    running_environment,
    scratch,
)

NAME = "start-to-end"
SIZE_BYTES = 20 * 1024
WARM_DOCUMENTS = 31
BEYOND_MS, FIRST_EVENT_MS, WARM_MS = 40.0, 15.0, 50.0
# Long enough for every process to become idle.
IDLE_S = 0.2

Row = dict[str, float]


def run(config: RunConfig, console: Console) -> Result:
    """Run one-document jobs, plain copies and stored cases alternately."""
    each = 3 if config.is_quick else 15
    rows: list[list[Row]] = []
    with (
        scratch() as folder,
        running_static_portal(folder, lambda _: None) as portal,
        running_environment(portal.url) as stage,
        requests.Session() as session,
    ):
        (page, *pages) = portal.shelf(1 + WARM_DOCUMENTS, SIZE_BYTES)
        warm = stage.new_number()
        portal.add_case(warm, pages)
        stage.run_jobs([warm], timeout_s=120)
        bare = _bare(stage, portal, session)
        for _ in range(3):
            _row(stage, portal, page, warm, bare)
        for round_ in range(1, config.rounds + 1):
            rows.append([_row(stage, portal, page, warm, bare) for _ in range(each)])
            message = ", ".join(f"{name} {value:.1f}" for name, value in _medians(rows[-1]).items())
            console.print(f"  round {round_}, ms: {message}", style="dim", highlight=False)
    rounds = [_medians(row) for row in rows]
    goals = [
        at_most(
            "one document: beyond portal and S3",
            BEYOND_MS,
            [round_["completed"] - round_["bare copy"] for round_ in rounds],
            " ms",
        ),
        at_most(
            "first progress event after StartDownload is called",
            FIRST_EVENT_MS,
            [round_["first event"] for round_ in rounds],
            " ms",
        ),
        at_most(
            f"warm case of {WARM_DOCUMENTS} documents",
            WARM_MS,
            [round_["warm case"] for round_ in rounds],
            " ms",
        ),
    ]
    note = (
        "medians of each round, as the caller sees it: completed is the end of WatchProgress, a"
        " bare copy lists the case, fetches the document and puts it, over open connections"
    )
    return Result(NAME, goals, {"medians": rounds, "rows": rows}, [note])


def _medians(rows: list[Row]) -> Row:
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def _row(
    stage: SpeedEnvironment,
    portal: StaticPortal,
    page: Page,
    warm: str,
    bare: Callable[[str], None],
) -> Row:
    """Return one measurement of each, in milliseconds."""
    number = stage.new_number()
    (shelved,) = portal.add_case(number, [page])
    time.sleep(IDLE_S)
    row = _one_document(stage, number)
    time.sleep(IDLE_S)
    begun = time.perf_counter()
    bare(shelved.href)
    row["bare copy"] = _ms_since(begun)
    time.sleep(IDLE_S)
    begun = time.perf_counter()
    answer = stage.api.StartDownload(pb.StartDownloadRequest(process_number=warm), timeout=CALL_S)
    row["warm case"] = _ms_since(begun)
    job = answer.job
    assert job.state == pb.JOB_STATE_COMPLETED, job
    assert job.progress.reused_documents == WARM_DOCUMENTS, job
    return row


def _one_document(stage: SpeedEnvironment, number: str) -> Row:
    row: Row = {}
    begun, called = time.perf_counter(), time.time()
    answer = stage.api.StartDownload(pb.StartDownloadRequest(process_number=number), timeout=CALL_S)
    row["StartDownload"] = _ms_since(begun)
    request = pb.WatchProgressRequest(job_id=answer.job.job_id)
    message: Any = None
    for message in stage.api.WatchProgress(request, timeout=CALL_S):
        row.setdefault("first event", _ms_since(begun))
        if message.HasField("job"):
            state = message.job.state
    row["completed"] = _ms_since(begun)
    assert state == pb.JOB_STATE_COMPLETED, message
    ended = stage.only(
        "SELECT extract(epoch FROM end_time) AS ended FROM jobs WHERE job_id = %(job_id)s",
        job_id=answer.job.job_id,
    )
    row["ended in the database"] = 1000 * (float(ended["ended"]) - called)
    return row


def _bare(
    stage: SpeedEnvironment, portal: StaticPortal, session: requests.Session
) -> Callable[[str], None]:
    """Copy a document as the plain loop does."""
    store: Minio = stage.bucket
    api = f"{portal.url}/api/v2"

    def copy(href: str) -> None:
        case = href.partition("/documentos/")[0]
        session.get(api + case).json()
        content = session.get(api + href).content
        key = f"bare/{href.split('/')[-2]}.pdf"
        store.put_object(stage.settings.s3_bucket, key, BytesIO(content), len(content))

    return copy


def _ms_since(begun: float) -> float:
    return 1000 * (time.perf_counter() - begun)
