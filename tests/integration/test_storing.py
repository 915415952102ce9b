"""Small files are put by whoever fetched them; what cannot be put lies in the spool."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests
from actors.asker import _ToPut as ToPut
from actors.asker import _Turn as Turn
from actors.combiner import LATER
from actors.download import Fetched
from actors.storing import PATIENCE_S, Put, Storer

from storage import claims, jobs, repairs, sweeps, tasks
from storage.claims import Claim
from storage.database import Database
from storage.documents.record import BUSY_ROUNDS, FetchedFile, Round, record_fetched, record_stored
from storage.errors import LeaseLost, PermanentError, ServiceUnavailable
from storage.listing_claims import outlook
from storage.listings import record
from storage.objects import Objects, ObjectStore
from storage.portal import attempts
from storage.spool import NOWHERE, SMALL_BYTES, Spool
from tests.integration import guest, scenes
from tests.integration import office as offices
from tests.integration.office import Office
from tests.integration.scenes import BUSY, CLIENT, HOOK, LANES, PDF, POLICY
from tests.integration.together import together

DOCUMENTS = 7
GONE = PermanentError("NOT_FOUND", "The portal does not have it.")
ROOM_BYTES = 2**32


@pytest.fixture
def office(
    database: Database, objects: Objects, redis_url: str, tmp_path: Path
) -> Iterator[Office]:
    """An office whose spool has room in plenty."""
    spool = Spool(tmp_path / "spool", uuid4(), ROOM_BYTES)
    with offices.opened(database, objects, redis_url, spool) as opened:
        yield opened


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine's bucket is not slow."""
    monkeypatch.setattr("actors.storing.HURRY_S", 20.0)
    monkeypatch.setattr("actors.storing.PATIENCE_S", 20.0)
    monkeypatch.setattr("actors.storing.SLOW_S", 20.0)


@pytest.fixture
def away(store: ObjectStore) -> Objects:
    """A bucket that cannot be reached."""
    return Objects(replace(store, endpoint_url="http://127.0.0.1:1"), max_connections=1)


@pytest.fixture
def silent(store: ObjectStore) -> Iterator[Objects]:
    """A bucket that takes connections and says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        yield Objects(replace(store, endpoint_url=url), max_connections=1)


@pytest.fixture(params=[False, True], ids=["once-told", "at-once"])
def at_once(request: pytest.FixtureRequest) -> bool:
    """Whether files are put before their rows are told that they were fetched."""
    return bool(request.param)


def _held_slots(database: Database) -> int:
    with database.single() as transaction:
        return int(
            transaction.only("SELECT count(*) FROM slots WHERE lease_until > clock_timestamp()")[
                "count"
            ]
        )


def _files(office: Office) -> list[Path]:
    return [*office.uploader.spool.leases(older_than_s=0, now=2**40).values()]


def _is_stored(office: Office, objects: Objects, job_id: UUID) -> bool:
    rows = scenes.documents(office.database, job_id)
    sizes = {row["object_key"]: row["size_bytes"] for row in rows}
    assert {(row["state"], row["attempt_count"]) for row in rows} == {("AVAILABLE", 1)}
    assert len({row["revision"] for row in rows}) == len(rows)
    return objects.present(sizes) == set(sizes)


def test_a_small_file_is_put_without_lying_in_the_spool(
    office: Office, objects: Objects, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    told = list[int]()

    def told_first(database: Database, files: Any, **more: Any) -> Any:
        told.append(len(files))
        return record_fetched(database, files, **more)

    monkeypatch.setattr("storage.documents.record.record_fetched", told_first)
    number = office.sandbox.add_case(documents=DOCUMENTS)

    job_id = office.storing(at_once=at_once).run(number)

    assert scenes.job(office.database, job_id)["state"] == "COMPLETED"
    assert _is_stored(office, objects, job_id)
    assert office.files_asked(number) == [1] * DOCUMENTS
    assert bool(told) is not at_once
    assert _held_slots(office.database) == 0
    assert _files(office) == []


def test_a_large_file_goes_by_the_spool(office: Office, objects: Objects, at_once: bool) -> None:
    number = office.sandbox.add_case(documents=1, size=SMALL_BYTES + 1)
    storing = office.storing(at_once=at_once)

    job_id = office.begin(number)
    storing.asker.list_documents(job_id)

    (row,) = scenes.documents(office.database, job_id)
    assert (row["state"], row["spool_id"]) == ("DOWNLOADED", office.uploader.spool.spool_id)
    assert len(_files(office)) == 1
    storing.work()
    assert _is_stored(office, objects, job_id)


def test_while_the_bucket_is_away_files_wait_in_the_spool_and_the_portal_is_not_asked_again(
    office: Office, objects: Objects, away: Objects, at_once: bool
) -> None:
    number = office.sandbox.add_case(documents=LANES)
    job_id = office.begin(number)

    office.storing(away, at_once=at_once).asker.list_documents(job_id)

    rows = scenes.documents(office.database, job_id)
    assert {row["state"] for row in rows} == {"DOWNLOADED"}
    assert {row["spool_id"] for row in rows} == {office.uploader.spool.spool_id}
    assert len(_files(office)) == LANES
    scenes.age(office.database, job_id, 60)
    office.work()
    assert _is_stored(office, objects, job_id)
    assert office.files_asked(number) == [1] * LANES
    assert _files(office) == []


def test_a_bucket_that_says_nothing_holds_no_slot_for_long(
    office: Office, silent: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.storing.HURRY_S", 0.2)
    number = office.sandbox.add_case(documents=1)
    job_id = office.begin(number)
    storing = office.storing(silent, at_once=True)
    office.list_job(job_id)
    claim = scenes.claimed(office.database, job_id, spool_id=office.uploader.spool.spool_id)
    fetched = storing.downloader.download(claim, is_late=False)
    assert isinstance(fetched, Fetched)

    begun = time.monotonic()
    done = storing.asker._put_at_once(_relaxed(fetched))

    # A usual put waits for twenty seconds and more.
    assert time.monotonic() - begun < PATIENCE_S
    assert isinstance(done, Fetched)
    assert done.data is None
    assert len(_files(office)) == 1
    assert storing.asker.storer
    assert not storing.asker.storer.is_free


def test_a_bucket_that_was_away_is_tried_by_one_at_first(office: Office) -> None:
    storer = office.storing(at_once=True).asker.storer
    assert storer
    with pytest.raises(ServiceUnavailable):
        _fail(storer)
    assert not _is_free(storer)

    storer._traffic.away_until = 0.0

    assert _is_free(storer)
    with storer._counted():
        assert not _is_free(storer), "somebody tries already"
    assert _is_free(storer)
    assert storer._traffic.failures == 0


def _is_free(storer: Storer) -> bool:
    return storer.is_free


def _fail(storer: Storer) -> None:
    with storer._counted():
        raise ServiceUnavailable("S3")


def _fetched(office: Office, storing: Office, job_id: UUID) -> Fetched:
    claim = scenes.claimed(office.database, job_id, spool_id=office.uploader.spool.spool_id)
    fetched = storing.downloader.download(claim, is_late=False)
    assert isinstance(fetched, Fetched)
    assert fetched.data is not None
    return fetched


def _put(office: Office, storing: Office, job_id: UUID) -> Put:
    """The job's next file, which the bucket holds and of which its row does not know."""
    put = storing.asker._put_at_once(_relaxed(_fetched(office, storing, job_id)))
    assert isinstance(put, Put)
    return put


def test_what_is_to_be_put_waits_for_nobody_who_asks(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = office.begin(office.sandbox.add_case(documents=2))
    office.list_job(job_id)
    asker = office.storing(at_once=False).asker
    turn, other = Turn(_fetched(office, office.storing(at_once=False), job_id)), Turn()
    monkeypatch.setattr(tasks, "next_claims", None)

    put, later = asker._round([turn, other])

    assert isinstance(put, ToPut)
    assert later is LATER
    assert turn.wakes is None


def test_somebody_is_woken_for_the_slots_of_what_is_to_be_put(office: Office) -> None:
    job_id = office.begin(office.sandbox.add_case(documents=1))
    office.list_job(job_id)
    storing = office.storing(at_once=False)
    turn = Turn(_fetched(office, storing, job_id))

    storing.asker._round([turn])

    assert turn.wakes == job_id


def test_a_file_in_memory_whose_record_was_lost_is_the_spools_when_it_is_said_again(
    office: Office,
) -> None:
    job_id = office.begin(office.sandbox.add_case(documents=1))
    office.list_job(job_id)
    storing = office.storing(at_once=False)
    fetched = _fetched(office, storing, job_id)
    lease = fetched.claim.lease
    taken = FetchedFile(fetched.claim, fetched.content, lease, is_taken=True)
    record_fetched(office.database, [taken], lease_s=60)

    storing.downloader.record(fetched)

    (row,) = scenes.documents(office.database, job_id)
    assert (row["spool_id"], row["lease_until"]) == (office.uploader.spool.spool_id, None)
    office.work()
    assert scenes.job(office.database, job_id)["state"] == "COMPLETED"


def _put_and_swept(office: Office, objects: Objects, storing: Office, job_id: UUID) -> Put:
    office.list_job(job_id)
    put = _put(office, storing, job_id)
    assert sweeps.delete_unnamed(office.database, objects, [put.key]) == 1
    return put


def test_a_file_in_memory_that_a_sweep_has_taken_is_put_again(
    office: Office, objects: Objects
) -> None:
    number = office.sandbox.add_case(documents=2)
    job_id = office.begin(number)
    storing = office.storing(at_once=True)
    put = _put_and_swept(office, objects, storing, job_id)
    assert storing.asker.storer

    storing.asker.storer.record(put)

    assert objects.present({put.key: put.file.size_bytes}) == {put.key}
    office.messages.download_lanes(job_id, 1)
    storing.work()
    assert _is_stored(office, objects, job_id)
    assert office.files_asked(number) == [1, 1]


def test_what_a_sweep_has_taken_and_cannot_be_put_again_is_fetched_again(
    office: Office, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = office.sandbox.add_case(documents=1)
    job_id = office.begin(number)
    storing = office.storing(at_once=True)
    put = _put_and_swept(office, objects, storing, job_id)
    assert storing.asker.storer

    with monkeypatch.context() as patched:
        patched.setattr(Objects, "put", _refused)
        storing.asker.storer.record(put)

    (row,) = scenes.documents(office.database, job_id)
    assert (row["state"], row["attempt_count"], row["lost_lease_count"]) == ("PENDING", 0, 0)
    scenes.execute(office.database, "DELETE FROM swept_objects")
    office.messages.download_lanes(job_id, 1)
    storing.work()
    assert _is_stored(office, objects, job_id)


@pytest.mark.parametrize("is_heard", [True, False], ids=["slow", "unheard"])
def test_what_is_put_while_the_same_object_is_deleted_is_put_again(
    office: Office, objects: Objects, monkeypatch: pytest.MonkeyPatch, is_heard: bool
) -> None:
    number = office.sandbox.add_case(documents=1)
    first = office.begin(number)
    storing = office.storing(at_once=True)
    office.list_job(first)
    nobodys = _put(office, storing, first)
    jobs.cancel(office.database, CLIENT, first)
    second = office.begin(number)
    office.list_job(second)
    real, theirs = Objects.delete, list[Any]()

    def delete(self: Objects, keys: list[str]) -> None:
        # On a thread of its own: on this one it would be part of the sweep's transaction.
        (put,) = together([partial(_put, office, storing, second)])
        theirs.append(put)
        real(self, keys)
        if not is_heard:
            raise ServiceUnavailable("S3")

    with monkeypatch.context() as patched:
        patched.setattr(Objects, "delete", delete)
        with nullcontext() if is_heard else pytest.raises(ServiceUnavailable):
            sweeps.delete_unnamed(office.database, objects, [nobodys.key])
    (put,) = theirs
    assert put.key == nobodys.key
    assert objects.present({put.key: put.file.size_bytes}) == set()
    assert storing.asker.storer
    storing.asker.storer.record(put)

    assert _is_stored(office, objects, second)
    assert office.files_asked(number) == [2]


def test_what_was_put_before_a_sweep_that_died_while_it_deleted_is_put_again(
    office: Office, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = office.sandbox.add_case(documents=1)
    job_id = office.begin(number)
    storing = office.storing(at_once=True)
    office.list_job(job_id)
    put = _put(office, storing, job_id)
    real = Objects.delete

    def delete(self: Objects, keys: list[str]) -> None:
        real(self, keys)
        # Nothing of its transaction is committed.
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Objects, "delete", delete)
        with pytest.raises(KeyboardInterrupt):
            sweeps.delete_unnamed(office.database, objects, [put.key])
    assert objects.present({put.key: put.file.size_bytes}) == set()
    assert storing.asker.storer
    storing.asker.storer.record(put)

    assert _is_stored(office, objects, job_id)
    assert office.files_asked(number) == [1]


def test_a_silent_bucket_deletes_nothing_for_long(
    store: ObjectStore, silent: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.objects.DELETE_S", 0.2)
    nobody = Objects(replace(store, endpoint_url=silent._store.endpoint_url), max_connections=1)

    begun = time.monotonic()
    with pytest.raises(ServiceUnavailable):
        nobody.delete(["a/key"])

    assert time.monotonic() - begun < PATIENCE_S


def _refused(_objects: Objects, _upload: object) -> None:
    raise ServiceUnavailable("S3")


def test_a_file_that_is_gone_with_its_job_is_no_error(office: Office) -> None:
    job_id = office.begin(office.sandbox.add_case(documents=1))
    office.list_job(job_id)
    held = scenes.claimed(office.database, job_id, spool_id=office.uploader.spool.spool_id)
    file = scenes.upload(office.database, held)
    jobs.cancel(office.database, CLIENT, job_id)

    assert office.uploader.storer.put(file) == (None, True)


def test_what_finds_no_room_in_the_spool_is_fetched_again_later(
    office: Office, objects: Objects, away: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = office.sandbox.add_case(documents=1)
    job_id = office.begin(number)
    storing = office.storing(away, at_once=False)

    with monkeypatch.context() as patched:
        patched.setattr(Spool, "keep", _no_room)
        storing.asker.list_documents(job_id)

    (row,) = scenes.documents(office.database, job_id)
    assert (row["state"], row["attempt_count"], row["lost_lease_count"]) == ("PENDING", 0, 0)
    assert row["not_before"] is not None
    scenes.age(office.database, job_id, 60)
    office.messages.download_lanes(job_id, 1)
    office.work()
    assert _is_stored(office, objects, job_id)


def _no_room(_spool: Spool, _lease: UUID, _data: bytes) -> None:
    raise ServiceUnavailable("Room in the spool")


def test_while_puts_are_slow_files_go_by_the_spool(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.storing.SLOW_S", -1.0)
    number = office.sandbox.add_case(documents=1)
    job_id = office.begin(number)
    storing = office.storing(at_once=True)
    assert storing.asker.storer

    with storing.asker.storer._counted():
        storing.asker.list_documents(job_id)

    (row,) = scenes.documents(office.database, job_id)
    assert (row["state"], row["spool_id"]) == ("DOWNLOADED", office.uploader.spool.spool_id)
    assert len(_files(office)) == 1


def test_a_file_of_a_job_that_is_cancelled_while_it_is_put_is_left_to_the_sweep(
    office: Office, objects: Objects, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    number = office.sandbox.add_case(documents=1)
    job_id = office.begin(number)
    real, keys = Objects.put, dict[str, int]()

    def put(self: Objects, upload: Any) -> None:
        real(self, upload)
        keys[upload.key] = upload.size_bytes
        jobs.cancel(office.database, CLIENT, job_id)

    monkeypatch.setattr(Objects, "put", put)

    office.storing(at_once=at_once).asker.list_documents(job_id)

    # Whether it was there before, for another job or another installation, is not known here.
    assert len(keys) == 1
    assert objects.present(keys) == keys.keys()
    (row,) = scenes.documents(office.database, job_id)
    assert (row["state"], row["object_key"]) == ("CANCELLED", None)
    scenes.age_portal(office.database, 2)
    assert _held_slots(office.database) == 0


@pytest.mark.parametrize("is_first", [True, False], ids=["before", "after"])
def test_what_another_job_of_the_case_is_about_to_name_stays(
    office: Office, objects: Objects, is_first: bool
) -> None:
    number = office.sandbox.add_case(documents=1)
    job_id = office.begin(number)
    storing = office.storing(at_once=True)
    office.list_job(job_id)
    put = _put(office, storing, job_id)
    assert storing.asker.storer
    jobs.cancel(office.database, CLIENT, job_id)
    other = office.begin(number)
    if is_first:
        storing.asker.storer.record(put)
    office.list_job(other)
    theirs = _put(office, storing, other)
    if not is_first:
        storing.asker.storer.record(put)

    storing.asker.storer.record(theirs)

    assert objects.present({put.key: put.file.size_bytes}) == {put.key}
    assert theirs.key == put.key
    assert _is_stored(office, objects, other)
    assert office.files_asked(number) == [2]


def _relaxed(fetched: Fetched) -> Fetched:
    return replace(fetched, claim=replace(fetched.claim, is_relaxed=True))


# Rows


def test_what_was_in_the_memory_of_a_lost_worker_is_fetched_again(database: Database) -> None:
    job_id = scenes.listed_job(database, 1)
    claim = scenes.claimed(database, job_id, spool_id=scenes.living_spool(database))
    scenes.in_memory(database, claim, lease_s=30)
    (row,) = scenes.documents(database, job_id)
    assert (row["state"], row["spool_id"], row["attempt_count"]) == ("DOWNLOADED", NOWHERE, 1)
    assert repairs.reclaim(database) == []

    scenes.age(database, job_id, 31)

    assert repairs.reclaim(database) == [job_id]
    (row,) = scenes.documents(database, job_id)
    assert (row["state"], row["attempt_count"], row["lost_lease_count"]) == ("PENDING", 0, 1)


def test_no_uploader_is_woken_for_what_is_in_memory(database: Database) -> None:
    job_id = scenes.listed_job(database, 1)
    claim = scenes.claimed(database, job_id)
    scenes.in_memory(database, claim, lease_s=30)
    scenes.age(database, job_id, 31)

    seen = repairs.stalled_jobs(database, lanes=LANES, can_ask=True, is_redis_lost=True)

    assert [each.uploads for each in seen] in ([], [()])


def test_fresh_files_and_spooled_ones_are_recorded_together(database: Database) -> None:
    job_id = guest.job(database, 4)
    by = guest.context()
    first, second, third, _ = guest.ask_all(database, by)
    spooled = scenes.upload(database, first)
    files = [spooled, claims.fresh(second, PDF), claims.fresh(third, PDF)]
    before = _held_slots(database)

    recorded = record_stored(database, [scenes.to_store(file) for file in files], lanes=LANES)

    assert recorded.recorded == {file.lease for file in files}
    rows = scenes.documents(database, job_id)
    assert [row["state"] for row in rows] == ["AVAILABLE"] * 3 + ["DOWNLOADING"]
    assert {row["attempt_count"] for row in rows[:3]} == {1}
    assert {row["sha256"] for row in rows[:3]} == {PDF.sha256}
    assert before - _held_slots(database) == 4, "the slots of the two, at the portal and the court"
    assert scenes.job(database, job_id)["stored_bytes"] == 3 * PDF.size_bytes


def test_a_fresh_file_is_a_sign_of_life_of_its_court(database: Database) -> None:
    guest.job(database, 3)
    by = guest.context()
    failing, good, _ = guest.ask_all(database, by)
    guest.refuse(database, failing, BUSY)
    scenes.execute(
        database,
        "UPDATE courts SET failure_count = 9, next_probe_time = clock_timestamp(),"
        " failing_since = clock_timestamp() - interval '1 hour'",
    )
    file = claims.fresh(good, PDF)

    recorded = record_stored(database, [scenes.to_store(file)], lanes=LANES)

    assert recorded.begins > 0
    with database.single() as transaction:
        court = transaction.only("SELECT failure_count, next_probe_time FROM courts")
    assert court == {"failure_count": 0, "next_probe_time": None}


@pytest.mark.parametrize("is_fresh", [True, False])
def test_the_last_file_of_a_job_ends_it_and_tells_which_webhooks_are_due(
    database: Database, is_fresh: bool
) -> None:
    view, _ = scenes.start(database, scenes.request(webhook_url=HOOK))
    job_id = view.job.job_id
    claim = scenes.listing_claim(database, job_id)
    record.record(database, claim, scenes.docket(claim.process_number, scenes.listing(1)))
    held = scenes.claimed(database, job_id)
    file = claims.fresh(held, PDF) if is_fresh else scenes.upload(database, held)

    outcome = scenes.stored(database, file)

    assert outcome.job_has_ended
    assert outcome.due_webhooks == [0]
    job = scenes.job(database, job_id)
    assert (job["state"], job["completed_documents"]) == ("COMPLETED", 1)
    (row,) = scenes.documents(database, job_id)
    assert (row["state"], row["attempt_count"], row["sha256"]) == ("AVAILABLE", 1, PDF.sha256)
    (event,) = scenes.events(database, job_id)
    assert event["documents"][0]["state"] == "AVAILABLE"
    assert event["job"]["revision"] == job["revision"] > row["revision"]
    with pytest.raises(LeaseLost):
        scenes.stored(database, file)


def test_a_fresh_file_ends_a_job_of_which_not_everything_is_there(database: Database) -> None:
    job_id = guest.job(database, 2)
    failing, good = guest.ask_all(database, guest.context())
    attempts.fail_attempt(database, failing, GONE, POLICY)
    file = claims.fresh(good, PDF)

    outcome = scenes.stored(database, file)

    assert outcome.job_has_ended
    assert scenes.job(database, job_id)["state"] == "PARTIALLY_COMPLETED"
    assert _held_slots(database) == 0
    row = scenes.documents(database, job_id)[1]
    assert (row["state"], row["attempt_count"], row["sha256"]) == ("AVAILABLE", 1, PDF.sha256)


def test_a_job_tells_whether_its_listing_is_known(database: Database) -> None:
    job_id = scenes.listed_job(database, 1)

    assert not outlook(database, job_id).is_served
    assert not outlook(database, job_id).is_over
    assert outlook(database, uuid4()).is_over


# Leases


def test_while_it_waits_for_postgresql_what_is_here_stays_ours(
    office: Office, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = office.sandbox.add_case(documents=2)
    job_id = office.begin(number)
    office.list_job(job_id)
    storing = office.storing(at_once=True)
    assert storing.asker.storer
    put = _put(office, storing, job_id)
    fetched = _fetched(office, storing, job_id)
    kept = list[set[UUID]]()

    def at_first(where: str, real: Callable[..., Any]) -> None:
        begun = len(kept)

        def call(*args: Any, **more: Any) -> Any:
            if len(kept) == begun:
                kept.append(set(storing.asker.keeper._held))
                raise ServiceUnavailable("PostgreSQL")
            return real(*args, **more)

        monkeypatch.setattr(where, call)

    at_first("storage.documents.record.record_stored", record_stored)
    storing.asker.storer.record(put)
    at_first("storage.documents.record.record_fetched", record_fetched)
    storing.downloader.record(fetched)

    assert kept == [{put.file.lease}, {fetched.claim.lease}]
    office.work()
    assert _is_stored(office, objects, job_id)
    assert office.files_asked(number) == [1, 1]


def test_a_job_that_somebody_holds_keeps_only_its_own_files_waiting(
    office: Office, objects: Objects
) -> None:
    held, free = (office.begin(office.sandbox.add_case(documents=2)) for _ in range(2))
    storing = office.storing(at_once=True)
    turns, put = [], list[Put]()
    for job_id in (held, free):
        office.list_job(job_id)
        done = _put(office, storing, job_id)
        put.append(done)
        turns.append(Turn(done))

    with office.database.transaction() as transaction:
        transaction.one("SELECT FROM jobs WHERE job_id = %(id)s FOR UPDATE", id=held)
        (answers,) = together([partial(storing.asker._round, turns)], timeout_s=30)
        # What is held goes with the next round, the fifth time alone; no round waits for it.
        assert [turn.unrecorded for turn in turns] == [held, None]
        assert answers[0] is LATER
        again = partial(storing.asker._round, turns[:1])
        later = [together([again], timeout_s=30) for _ in range(BUSY_ROUNDS - 1)]
        assert later == [[[LATER]]] * (BUSY_ROUNDS - 2) + [[[None]]]
    storing.asker._record(turns[0])
    assert put[0].is_recorded
    if isinstance(answers[1], Claim):
        attempts.give_back(office.database, answers[1])

    office.messages.download_lanes(held, 2)
    storing.work()
    assert _is_stored(office, objects, held)
    assert _is_stored(office, objects, free)


def test_who_has_something_left_to_record_is_given_nothing_and_others_are(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = office.begin(office.sandbox.add_case(documents=3))
    office.list_job(job_id)
    storing = office.storing(at_once=True)
    put = _put(office, storing, job_id)
    monkeypatch.setattr(Storer, "record_all", lambda _storer, _put: Round())

    nothing, claim = storing.asker._round([Turn(put), Turn()])

    assert nothing is None
    assert isinstance(claim, Claim)


def test_what_a_round_cannot_say_was_fetched_is_said_by_who_fetched_it(
    office: Office, objects: Objects
) -> None:
    job_id = office.begin(office.sandbox.add_case(documents=1))
    office.list_job(job_id)
    storing = office.storing(at_once=False)
    turn = Turn(_fetched(office, storing, job_id))

    with office.database.transaction() as transaction:
        transaction.one("SELECT FROM jobs WHERE job_id = %(id)s FOR UPDATE", id=job_id)
        record = partial(storing.asker._round, [turn])
        answers = [together([record], timeout_s=30) for _ in range(BUSY_ROUNDS)]

    assert answers == [[[LATER]]] * (BUSY_ROUNDS - 1) + [[[None]]]
    assert turn.unrecorded == job_id
    storing.asker._record(turn)
    office.work()
    assert _is_stored(office, objects, job_id)


def test_what_is_stored_lies_below_the_prefix_and_can_be_read_there(
    office: Office, store: ObjectStore
) -> None:
    below = Objects(replace(store, prefix="some/where/"), max_connections=2)
    number = office.sandbox.add_case(documents=2)
    job_id = office.begin(number)

    storing = office.storing(below, at_once=True)
    storing.asker.list_documents(job_id)
    storing.work()

    rows = scenes.documents(office.database, job_id)
    sizes = {row["object_key"]: row["size_bytes"] for row in rows}
    assert all(key.startswith("some/where/default/processos/") for key in sizes)
    assert below.present(sizes) == sizes.keys() <= {each.key for each in below.documents()}
    url, _ = below.url(min(sizes), lifetime_s=60)
    assert requests.get(url, timeout=10).status_code == 200
