"""`python -m tests.chaos.outages --seconds 60`: stop each server for that long, alone and together.

A job of 60 documents is in the middle each time. Afterwards the job must have ended COMPLETED,
without a second request for a document and without a counted extra attempt. While PostgreSQL was
unavailable, calls must have failed with UNAVAILABLE, RetryInfo and the pushback trailer. Exit code
1 if not, with the problems.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc

from autos.downloads.v1 import downloads_pb2 as pb
from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from dev.processes.deadline import until
from dev.stack import Stack, running_stack
from tests.sandbox.portal import SandboxPortal
from tests.system.refused_calls import refusal_of

DOCUMENTS = 60
TOKEN = "outage-token"
ROUNDS: tuple[tuple[str, ...], ...] = (
    ("postgres",),
    ("valkey",),
    ("s3",),
    ("postgres", "valkey", "s3"),
)


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    seconds = parser.parse_args().seconds
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as folder, SandboxPortal(token=TOKEN) as portal:
        env = {
            "DATA_DIR": folder,
            "GRPC_LISTEN": "127.0.0.1:0",
            "PDPJ_BASE_URL": portal.url,
            "PDPJ_TOKEN": TOKEN,
            "LOG_FORMAT": "json",
            "HOME": str(Path.home()),
        }
        with (
            running_stack(env, lambda _line: None, is_announced=False) as stack,
            grpc.insecure_channel(stack.run_file.address) as channel,
        ):
            api = pb_grpc.DownloadServiceStub(channel)
            for names in ROUNDS:
                problems += _round(stack, portal, api, names, seconds)
    print("\n".join(problems) or "all as promised")
    return 1 if problems else 0


def _round(
    stack: Stack,
    portal: SandboxPortal,
    api: pb_grpc.DownloadServiceStub,
    names: Sequence[str],
    seconds: float,
) -> list[str]:
    number = portal.add_case(documents=DOCUMENTS, size=50_000, latency_s=0.3)
    job_id = api.StartDownload(pb.StartDownloadRequest(process_number=number)).job.job_id
    until(lambda: len(_files(portal, number)) > DOCUMENTS // 4, 30, "The job does not begin.")
    problems = []
    for name in names:
        stack.servers.hold(name)
    if "postgres" in names:
        problems += _refusals(api, job_id)
    time.sleep(seconds)
    for name in names:
        stack.servers.release(name)
    back = time.monotonic()
    job = _end(api, job_id)
    took_s = time.monotonic() - back
    file_requests = _files(portal, number)
    twice = len(file_requests) - len(set(file_requests))
    page = api.ListDocuments(pb.ListDocumentsRequest(job_id=job_id, page_size=1000))
    burnt = [d.document_id for d in page.documents if d.attempt_count != 1]
    print(
        f"{' + '.join(names):24} away {seconds:.0f} s: {pb.JobState.Name(job.state)}"
        f" {took_s:.1f} s after it was back, {twice} requested twice, {len(burnt)} extra attempts",
        flush=True,
    )
    if job.state != pb.JOB_STATE_COMPLETED or twice or burnt:
        problems.append(
            f"{names}: {pb.JobState.Name(job.state)}, {twice} twice, extra attempts {burnt}"
        )
    return problems


def _files(portal: SandboxPortal, number: str) -> list[str]:
    return [str(r.uuid) for r in portal.requests if r.kind == "file" and r.number == number]


def _refusals(api: pb_grpc.DownloadServiceStub, job_id: str) -> list[str]:
    """Return the problems with the answers while PostgreSQL is unavailable."""
    problems = []
    for _ in range(50):
        try:
            api.GetStatus(pb.GetStatusRequest(job_id=job_id), timeout=15)
        except grpc.RpcError as error:
            found = refusal_of(error)
            trailers: Any = error.trailing_metadata() or ()
            if found.code != grpc.StatusCode.UNAVAILABLE or not found.retry_after_s:
                problems.append(f"answered {found.code}")
            if "grpc-retry-pushback-ms" not in dict(trailers):
                problems.append("no pushback")
        else:
            problems.append("answered without PostgreSQL")
    return problems


def _end(api: pb_grpc.DownloadServiceStub, job_id: str) -> pb.Job:
    found: list[pb.Job] = []

    def has_ended() -> bool:
        try:
            job = api.GetStatus(pb.GetStatusRequest(job_id=job_id), timeout=15).job
        except grpc.RpcError:
            return False
        found[:] = [job]
        return bool(job.HasField("end_time"))

    until(has_ended, 180, "The job does not end.")
    return found[0]


if __name__ == "__main__":
    sys.exit(main())
