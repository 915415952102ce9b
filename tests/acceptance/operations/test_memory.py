"""Test that memory use does not depend on the size of a document."""

from __future__ import annotations

import time

import pytest

from autos.downloads.v1 import downloads_pb2 as pb
from tests.system.bucket import StoredBucket, sandbox_sha256
from tests.system.job_calls import documents, finish, run, start
from tests.system.memory import MIB, PeakMemory
from tests.system.running_autos import Autos
from tests.system.running_processes import processes_of

MOST_ADDED_BYTES = 50 * MIB
# A process that held the document, or half of it, would grow by more.
SIZE_BYTES = 120_000_000
DEADLINE_S = 200.0


@pytest.mark.timeout(300)
def test_a_large_document_adds_less_than_50_mb_to_any_process(autos: Autos) -> None:
    # The first document of each process has costs of its own, which are not those of a large one.
    run(autos, autos.portal.add_case(documents=20))
    case = autos.portal.case(autos.portal.add_case(documents=1, size=SIZE_BYTES))
    assert case
    [source] = case.documents
    peaks = {f"{name} {pid}": PeakMemory(pid) for pid, name in processes_of(autos).items()}

    begun = time.monotonic()
    job = finish(autos, start(autos, case.number).job.job_id, deadline_s=DEADLINE_S)
    took_s = time.monotonic() - begun

    added = {name: peak.added_bytes() for name, peak in peaks.items()}
    print(f"{source.size_bytes:,} bytes in {took_s:.1f} s; MiB added at the peak:")
    for name, added_bytes in added.items():
        print(f"  {name}: {added_bytes / MIB:.1f}")
    assert max(added.values()) < MOST_ADDED_BYTES
    assert job.state == pb.JOB_STATE_COMPLETED
    [document] = documents(autos, job)
    assert document.size_bytes == source.size_bytes
    assert (
        document.sha256 == sandbox_sha256(source) == StoredBucket(autos).sha256(document.object_key)
    )
