"""Use the installed client once, completely, in an environment without other parts of Autos."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from autos import AsyncClient, Client, InvalidRequest

CASE = "1011745-77.2025.8.11.0041"
WRONG_CASE = "1003579-23.2025.8.26.0564"


def _in_threads() -> str:
    with Client.from_env() as autos, tempfile.TemporaryDirectory() as folder:
        job = autos.wait(autos.start(CASE).job.job_id)
        pulled = autos.download_to(folder, job.job_id)
        assert len(pulled.files) == job.progress.completed_documents > 0
        assert _violations(autos) == {"process_number"}
        return job.job_id


def _violations(autos: Client) -> set[str]:
    """Return the fields that an error names in its details."""
    try:
        autos.start(WRONG_CASE)
    except InvalidRequest as error:
        return set(error.violations)
    raise AssertionError("A wrong number was accepted.")


async def _in_loop(job_id: str) -> None:
    async with AsyncClient.from_env() as autos:
        assert (await autos.status(CASE)).job_id == job_id
        assert job_id in {job.job_id async for job in autos.jobs(process_number=CASE)}
        *_, last = [message async for message in autos.watch(job_id)]
        assert last.job == await autos.wait(job_id)


def _proto_plus() -> str:
    """Use a library that depends on Google's package `proto`, if it is installed."""
    if find_spec("proto") is None:
        return "no package named proto"
    proto, cloud = import_module("proto"), import_module("google.cloud.secretmanager")
    assert issubclass(cloud.Secret, proto.Message)
    return f"proto is Google's {version('proto-plus')}"


def main() -> None:
    """Use the client and print the versions. Raises the error of the first failure."""
    about = _proto_plus()
    asyncio.run(_in_loop(_in_threads()))
    command = Path(sys.executable).with_name("autos")
    subprocess.run((command, "status", CASE), check=True, stdout=subprocess.DEVNULL)
    versions = (f"{name} {version(name)}" for name in ("protobuf", "grpcio"))
    print(f"Python {sys.version.split()[0]}, {', '.join(versions)}; {about}")


if __name__ == "__main__":
    main()
