"""`python -m tests.bench.batch_starts`: 1,000 jobs by one call, and by as many calls.

The jobs have a later `not_before_time`, so that nothing but their start is measured. The CPU time
is that of the server and PostgreSQL; other work on the machine changes it less than the time.
"""

from __future__ import annotations

import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import grpc

from autos.downloads.v1 import downloads_pb2 as pb
from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from dev.stack import running_stack
from tests.bench.speed.profiling.cpu_time import spent_s
from tests.sandbox.court_cases.cnj import process_number
from tests.system.running_autos import free_port

JOBS, ROUNDS = 1_000, 5
CALLERS = (1, 32)
TIMEOUT_S = 120.0
_serials = itertools.count(1)


def _requests() -> list[pb.StartDownloadRequest]:
    """Return requests of cases that no job had before."""
    later = datetime.now(UTC) + timedelta(days=1)
    requests = []
    for _ in range(JOBS):
        request = pb.StartDownloadRequest(process_number=process_number(next(_serials)))
        request.not_before_time.FromDatetime(later)
        requests.append(request)
    return requests


def together(api: Any) -> float:
    """Return the seconds of one call."""
    request = pb.StartDownloadsRequest(requests=_requests())
    begun = time.perf_counter()
    answer = api.StartDownloads(request, timeout=TIMEOUT_S)
    took_s = time.perf_counter() - begun
    assert all(result.response.created for result in answer.results)
    return took_s


def one_by_one(api: Any, callers: int) -> float:
    """Return the seconds of a call for each job, by so many callers at once."""
    requests = _requests()
    with ThreadPoolExecutor(callers) as pool:
        begun = time.perf_counter()
        answers = list(pool.map(lambda each: api.StartDownload(each, timeout=TIMEOUT_S), requests))
        took_s = time.perf_counter() - begun
    assert all(answer.created for answer in answers)
    return took_s


def _medians(rounds: Sequence[tuple[float, float]]) -> tuple[float, float]:
    took_s, cpu_s = (statistics.median(each) for each in zip(*rounds, strict=True))
    return took_s, cpu_s


def main() -> None:
    """Print the times."""
    with tempfile.TemporaryDirectory() as name:
        address = f"127.0.0.1:{free_port()}"
        env = {
            "DATA_DIR": f"{name}/run",
            "GRPC_LISTEN": address,
            "CLIENT_STARTS_PER_MINUTE": "1000000",
            "CLIENT_WAITING_JOBS": "1000000",
        }
        with (
            running_stack(env, is_announced=False) as stack,
            grpc.insecure_channel(address) as channel,
        ):
            api = pb_grpc.DownloadServiceStub(channel)
            kinds: dict[str, Callable[[], float]] = {"one call": partial(together, api)}
            for callers in CALLERS:
                kinds[f"{JOBS} calls, {callers} at once"] = partial(one_by_one, api, callers)
            times: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
            pids = [stack.processes.pid_of("server"), stack.servers.pid_of("postgres")]
            leaders = [pid for pid in pids if pid is not None]
            for _ in range(ROUNDS):
                for kind, start in kinds.items():
                    before = spent_s(leaders)
                    times[kind].append((start(), spent_s(leaders) - before))
    base_s, base_cpu_s = _medians(times["one call"])
    for kind, each in times.items():
        took_s, cpu_s = _medians(each)
        print(
            f"{kind:24} {took_s:8.3f} s {took_s / base_s:6.1f} x,"
            f" CPU {cpu_s:8.3f} s {cpu_s / base_cpu_s:6.1f} x"
        )
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
