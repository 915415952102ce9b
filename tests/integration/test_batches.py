"""Many threads record and claim together; each document comes out as it would by itself."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Barrier, BrokenBarrierError, Lock
from typing import Any
from uuid import UUID, uuid4

import pytest
from actors.asker import Asker
from actors.upload import Uploader

from actors.portal import Portal
from storage import jobs, repairs, sql
from storage.database import Database
from storage.objects import Objects
from storage.spool import Spool
from tests.integration import office as offices
from tests.integration import scenes
from tests.integration.office import Office
from tests.integration.scenes import CLIENT

THREADS = 6
DOCUMENTS = 16
PATIENCE_S = 60.0


@pytest.fixture(params=["uploader", "worker-once-told", "worker-at-once"])
def office(
    request: pytest.FixtureRequest,
    database: Database,
    objects: Objects,
    redis_url: str,
    tmp_path: Path,
) -> Iterator[Office]:
    """An office of this test's own; who puts small files, and when."""
    spool = Spool(tmp_path / "spool", uuid4(), 2**30)
    with offices.opened(database, objects, redis_url, spool) as opened:
        if request.param == "uploader":
            yield replace(
                opened,
                asker=replace(opened.asker, threads=THREADS),
                uploader=replace(opened.uploader, threads=THREADS),
            )
        else:
            yield opened.storing(at_once=request.param == "worker-at-once", threads=THREADS)


def _begun(office: Office) -> tuple[str, UUID]:
    """A listed job: its case and itself."""
    number = office.sandbox.add_case(documents=DOCUMENTS)
    job_id = office.begin(number)
    office.list_job(job_id)
    return number, job_id


def _work(office: Office, *job_ids: UUID) -> None:
    """All threads fetch and store until these jobs have ended."""
    asker: Asker = office.asker
    uploader: Uploader = office.uploader

    def work(_: int) -> None:
        while any(scenes.job(office.database, each)["end_time"] is None for each in job_ids):
            asker.download_document(job_ids[0])
            uploader.upload_document(job_ids[0], uuid4(), uuid4())

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))


def _is_stored(office: Office, objects: Objects, job_id: UUID) -> bool:
    """Whether every document of a job is there, each with a revision of its own."""
    rows = scenes.documents(office.database, job_id)
    sizes = {row["object_key"]: row["size_bytes"] for row in rows}
    assert {row["state"] for row in rows} == {"AVAILABLE"}
    assert len({row["revision"] for row in rows}) == len(rows) == DOCUMENTS
    return objects.present(sizes) == set(sizes)


def _spooled(office: Office) -> list[str]:
    return [path.name for path in office.uploader.spool.leases(older_than_s=0, now=2**40).values()]


def test_threads_that_share_rounds_store_each_document_once(
    office: Office, objects: Objects
) -> None:
    cases = [_begun(office) for _ in range(2)]

    _work(office, *(job_id for _, job_id in cases))

    for number, job_id in cases:
        assert _is_stored(office, objects, job_id)
        assert scenes.job(office.database, job_id)["completed_documents"] == DOCUMENTS
        assert len(scenes.events(office.database, job_id)) == 1
        assert office.files_asked(number) == [1] * DOCUMENTS
    assert _spooled(office) == []


def _in_pairs(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> Barrier:
    """Two calls of a method end in the same moment, until the barrier is aborted."""
    real, pair = getattr(owner, name), Barrier(2)

    def paired(*args: Any, **kwargs: Any) -> Any:
        result = real(*args, **kwargs)
        with suppress(BrokenBarrierError):
            pair.wait(PATIENCE_S)
        return result

    monkeypatch.setattr(owner, name, paired)
    return pair


@pytest.mark.parametrize(
    ("office", "step", "owner", "before"),
    [
        ("uploader", "record_fetched", Portal, "fetch"),
        ("uploader", "record_stored", Objects, "put"),
        ("worker-at-once", "record_stored", Objects, "put"),
    ],
    indirect=["office"],
)
def test_what_cannot_be_recorded_together_is_recorded_one_by_one(
    office: Office,
    objects: Objects,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    owner: Any,
    before: str,
) -> None:
    real, broken, breaks = Database.call, 0, sql.function(step)
    pair = _in_pairs(monkeypatch, owner, before)

    def alone(database: Database, function: Any, **values: Any) -> Any:
        nonlocal broken
        if function is breaks and len(values["leases"]) > 1:
            broken += 1
            pair.abort()
            raise RuntimeError
        return real(database, function, **values)

    monkeypatch.setattr(Database, "call", alone)
    # Who asks waits for the others.
    monkeypatch.setattr("actors.combiner.SMOOTHING", 0.0)
    for turns in (office.asker.turns, office.uploader.turns):
        turns._busy_s = min(turns._busy_s, 0.0)
    number, job_id = _begun(office)

    _work(office, job_id)

    assert broken
    assert _is_stored(office, objects, job_id)
    assert office.files_asked(number) == [1] * DOCUMENTS
    assert _spooled(office) == []


def test_a_job_that_is_cancelled_takes_nothing_of_others_with_it(
    office: Office, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    (_, cancelled), (number, other) = _begun(office), _begun(office)
    real, put, has_begun = Objects.put, dict[str, int](), Lock()

    def putting(self: Objects, upload: Any) -> None:
        real(self, upload)
        put[upload.key] = upload.size_bytes
        if len(put) >= DOCUMENTS // 2 and has_begun.acquire(blocking=False):
            jobs.cancel(office.database, CLIENT, cancelled)

    monkeypatch.setattr(Objects, "put", putting)

    _work(office, cancelled, other)

    assert _is_stored(office, objects, other)
    assert office.files_asked(number) == [1] * DOCUMENTS
    rows = scenes.documents(office.database, cancelled)
    named = {row["object_key"] for row in rows} - {None}
    assert {row["state"] for row in rows} == {"AVAILABLE", "CANCELLED"}
    assert scenes.job(office.database, cancelled)["completed_documents"] == len(named)
    # What was in the spool by then goes with what an uploader finds there that no row names.
    left = list(office.uploader.spool.leases(older_than_s=0, now=2**40))
    assert repairs.unowned(office.database, left) == {*left}
