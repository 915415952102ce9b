"""What no row names goes, by age; what a row names, or may still name, stays."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from actors.heartbeat import LEFTOVER_AGE_S, Heartbeat
from actors.outage import insist
from dev.deadline import until
from storage import claims, sweeps
from storage.claims import Spooled
from storage.database import Database
from storage.errors import LeaseLost
from storage.objects import Objects, ObjectStore, Upload, object_key
from storage.spool import Spool
from tests.integration import scenes
from tests.integration.scenes import LANES

DATA = b"the bytes of any document"
BUCKET = "sweeps"


@pytest.fixture(scope="session")
def own_store(store: ObjectStore) -> ObjectStore:
    """A bucket of these tests' own: a sweep spares nothing that its database does not know."""
    return replace(store, bucket=BUCKET)


@pytest.fixture
def bucket(own_store: ObjectStore) -> Objects:
    """That bucket, with nothing in it."""
    objects = Objects(own_store, max_connections=4)
    objects.ensure_bucket()
    objects.abort_uploads(_soon())
    objects.delete([*objects.keys(_soon()), "other/file.pdf"])
    return objects


def _soon() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=10)


def _put(objects: Objects, folder: Path, key: str) -> str:
    path = folder / "content"
    path.write_bytes(DATA)
    digest = hashlib.sha256(DATA).hexdigest()
    objects.put(Upload(path, key, len(DATA), digest, "application/pdf", "name"))
    return key


def _some_key(document_id: UUID | None = None) -> str:
    number = scenes.process_number()
    return object_key(scenes.CLIENT, number, document_id or uuid4(), "0" * 64, "pdf")


def _taken(database: Database) -> Spooled:
    """A document of a job with two, taken for its upload."""
    return scenes.upload(database, scenes.claimed(database, scenes.listed_job(database, 2)))


def _sweep(database: Database, objects: Objects, *, age_s: float = -10) -> int:
    """With a negative age nothing is too young."""
    return sweeps.sweep(database, objects, age_s=age_s)


def test_an_object_that_no_row_names_goes_and_others_stay(
    database: Database, bucket: Objects, tmp_path: Path
) -> None:
    file = _taken(database)
    named = _put(bucket, tmp_path, _some_key(file.document_id))
    claims.stored(database, file, named, lanes=LANES)
    foreign = _put(bucket, tmp_path, "other/file.pdf")
    unnamed = _put(bucket, tmp_path, _some_key())

    assert _sweep(database, bucket) == 1

    sizes = dict.fromkeys((named, foreign, unnamed), len(DATA))
    assert bucket.present(sizes) == {named, foreign}
    assert _sweep(database, bucket) == 0


def test_a_young_object_stays(database: Database, bucket: Objects, tmp_path: Path) -> None:
    key = _put(bucket, tmp_path, _some_key())

    assert _sweep(database, bucket, age_s=60) == 0

    assert bucket.present({key: len(DATA)}) == {key}


def test_an_upload_that_was_cut_off_goes_when_it_is_old(
    database: Database, bucket: Objects, own_store: ObjectStore
) -> None:
    client = own_store.client(own_store.endpoint_url)

    def open_uploads() -> list[str]:
        listed = client._list_multipart_uploads(BUCKET)
        return [str(upload.object_name) for upload in listed.uploads]

    key = _some_key()
    client._create_multipart_upload(BUCKET, key, {})
    assert open_uploads() == [key]

    _sweep(database, bucket, age_s=60)
    assert open_uploads() == [key]
    _sweep(database, bucket)
    assert open_uploads() == []


def test_an_object_swept_while_it_was_being_stored_is_put_again(
    database: Database, bucket: Objects, tmp_path: Path
) -> None:
    file = _taken(database)
    key = _put(bucket, tmp_path, _some_key(file.document_id))

    assert _sweep(database, bucket) == 1
    with pytest.raises(LeaseLost):
        claims.stored(database, file, key, lanes=LANES)

    scenes.age(database, file.job_id, 120)
    again = claims.take_upload(database, file.job_id, file.document_id, file.lease, lease_s=60)
    assert again, "its file is still there and must be put again"
    claims.stored(database, again, _put(bucket, tmp_path, key), lanes=LANES)
    assert _sweep(database, bucket) == 0
    assert bucket.present({key: len(DATA)}) == {key}


class _Meddled(Objects):
    """A bucket in which something else happens just before objects are deleted."""

    def __init__(self, store: ObjectStore, meanwhile: Callable[[], None]) -> None:
        super().__init__(store, max_connections=2)
        self._meanwhile = meanwhile

    def delete(self, keys: Sequence[str]) -> None:
        self._meanwhile()
        super().delete(keys)


def test_what_is_stored_in_the_moment_of_a_sweep_never_names_an_object_that_is_gone(
    database: Database, bucket: Objects, own_store: ObjectStore, tmp_path: Path
) -> None:
    file = _taken(database)
    key = _put(bucket, tmp_path, _some_key(file.document_id))
    outcomes: list[object] = []

    def store() -> None:
        try:
            # It waits for the lock but a moment at a time.
            say = partial(claims.stored, database, file, key, lanes=LANES)
            outcomes.append(insist(say, is_stopping=lambda: False))
        except LeaseLost as error:
            outcomes.append(error)

    storing = threading.Thread(target=store)

    def store_meanwhile() -> None:
        storing.start()
        until(
            lambda: bool(outcomes) or _waits_for_a_sweep(database), 60, "It neither ends nor waits."
        )

    assert _sweep(database, _Meddled(own_store, store_meanwhile)) == 1
    storing.join(60)

    [outcome] = outcomes
    assert isinstance(outcome, LeaseLost), "the row names an object that is gone"
    assert scenes.documents(database, file.job_id)[0]["object_key"] is None


def _waits_for_a_sweep(database: Database) -> bool:
    with database.transaction() as transaction:
        row = transaction.only(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
            " AS waits"
        )
    return bool(row["waits"])


def test_a_spool_file_without_an_owner_goes_when_it_is_old(
    database: Database, spool: Spool
) -> None:
    job_id = scenes.listed_job(database, 1)
    owner = scenes.claimed(database, job_id, spool_id=spool.spool_id).lease
    old, young = uuid4(), uuid4()
    for lease in (owner, old, young):
        with spool.create(lease, 10) as file:
            file.write(DATA)
    past = time.time() - LEFTOVER_AGE_S - 1
    for lease in (owner, old):
        os.utime(spool.path(lease), (past, past))

    Heartbeat(database, spool).sweep()

    assert {lease for lease in (owner, old, young) if spool.path(lease).exists()} == {owner, young}
