"""Test sweeps: an object that no row names is deleted by age; one that a row may name stays."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from actors.leases.heartbeats import FOREIGN, LEFTOVER_AGE_S, UNKNOWN, Heartbeat
from actors.resilience.retry import retry_until_available
from dev.processes.deadline import until
from storage.errors import LeaseLost
from storage.event_counters import OBJECTS_SWEPT
from storage.objects import adoption, installation, sweeps
from storage.objects.object_names import object_key
from storage.objects.object_store import BucketObject, Objects
from storage.objects.store_address import ObjectStore
from storage.objects.sweeps import ALWAYS_FEW, Swept
from storage.objects.uploads import Upload
from storage.portal.document_claims import CheckedFile
from storage.postgres.database import Database
from storage.scheduling import reconciliation
from storage.spool import Spool
from tests.integration.harness import factories

DATA = b"the bytes of any document"
BUCKET = "sweeps"


@pytest.fixture(scope="session")
def own_store(store: ObjectStore) -> ObjectStore:
    """Return the settings of a bucket for these tests: a sweep deletes all that its rows lack."""
    return replace(store, bucket=BUCKET)


@pytest.fixture
def bucket(own_store: ObjectStore, database: Database) -> Objects:
    """Yield that bucket with nothing but this database's mark."""
    objects = Objects(own_store, max_connections=4)
    objects.ensure_bucket()
    empty(objects, own_store)
    adoption.claim(database, objects)
    return objects


def empty(objects: Objects, store: ObjectStore) -> None:
    """Delete every object of a bucket."""
    client = store.client(store.endpoint_url)
    listed = client.list_objects(store.bucket, recursive=True)
    if keys := [str(each.object_name) for each in listed]:
        objects.delete(keys)


def _put(objects: Objects, folder: Path, key: str) -> str:
    path = folder / "content"
    path.write_bytes(DATA)
    digest = hashlib.sha256(DATA).hexdigest()
    objects.put(Upload(path, key, len(DATA), digest, "application/pdf", "name"))
    return key


def _some_key(document_id: UUID | None = None) -> str:
    number = factories.process_number()
    return object_key(factories.CLIENT, number, document_id or uuid4(), "0" * 64, "pdf")


def _taken(database: Database) -> CheckedFile:
    """Return a document of a job of two, leased for its upload."""
    return factories.upload(
        database, factories.claimed(database, factories.listed_job(database, 2))
    )


def _look(database: Database, objects: Objects, *, age_s: float = -10) -> Swept:
    """Run one sweep. With a negative age no object is too young."""
    return sweeps.sweep(database, objects, age_s=age_s, rest_s=0)


def _sweep(database: Database, objects: Objects, *, age_s: float = -10) -> int:
    """Run a sweep that notes objects and one that deletes them; return the number deleted."""
    assert _look(database, objects, age_s=age_s).deleted == 0
    swept = _look(database, objects, age_s=age_s)
    assert swept.trouble == ""
    return swept.deleted


def test_an_object_that_no_row_names_goes_and_others_stay(
    database: Database, bucket: Objects, tmp_path: Path
) -> None:
    file = _taken(database)
    named = _put(bucket, tmp_path, _some_key(file.document_id))
    factories.stored(database, file, named)
    foreign = _put(bucket, tmp_path, "other/file.pdf")
    unnamed = _put(bucket, tmp_path, _some_key())

    assert _sweep(database, bucket) == 1

    sizes = dict.fromkeys((named, foreign, unnamed), len(DATA))
    assert bucket.present(sizes) == {named, foreign}
    assert _sweep(database, bucket) == 0


def test_the_objects_that_a_sweep_deletes_are_counted(
    database_url: str, database: Database, bucket: Objects, tmp_path: Path
) -> None:
    counted: list[tuple[str, float]] = []
    for _ in range(2):
        _put(bucket, tmp_path, _some_key())

    with closing(
        Database(
            database_url,
            max_connections=2,
            on_count=lambda name, _labels, number: counted.append((name, number)),
        )
    ) as counting:
        assert _sweep(counting, bucket) == 2

    assert [number for name, number in counted if name == OBJECTS_SWEPT] == [2]


def test_a_young_object_stays(database: Database, bucket: Objects, tmp_path: Path) -> None:
    key = _put(bucket, tmp_path, _some_key())

    assert _sweep(database, bucket, age_s=60) == 0

    assert bucket.present({key: len(DATA)}) == {key}


def _keys(objects: Objects) -> set[str]:
    return {each.key for each in objects.documents()}


def _put_many(objects: Objects, folder: Path, count: int) -> set[str]:
    return {_put(objects, folder, _some_key()) for _ in range(count)}


def test_an_object_goes_only_if_it_was_named_by_an_earlier_sweep_and_long_enough_ago(
    database: Database, bucket: Objects, tmp_path: Path
) -> None:
    key = _put(bucket, tmp_path, _some_key())

    for _ in range(2):
        swept = sweeps.sweep(database, bucket, age_s=-10, rest_s=60)
        assert (swept.deleted, _keys(bucket)) == (0, {key})

    assert _look(database, bucket).deleted == 1


def test_an_object_that_got_a_row_after_it_was_named_stays_and_is_named_anew(
    database: Database, bucket: Objects, tmp_path: Path
) -> None:
    file = _taken(database)
    key = _put(bucket, tmp_path, _some_key(file.document_id))
    _look(database, bucket)

    factories.stored(database, file, key)
    assert _look(database, bucket).deleted == 0
    factories.execute(database, "DELETE FROM jobs")

    # That is the first sweep without a row, whatever earlier sweeps saw.
    assert _look(database, bucket).deleted == 0
    assert _keys(bucket) == {key}


def test_a_sweep_stops_if_more_would_go_than_a_crash_leaves_until_an_operator_lets_it(
    database: Database, bucket: Objects, tmp_path: Path
) -> None:
    # Given a database without its rows, and objects too young to be deleted
    keys = _put_many(bucket, tmp_path, ALWAYS_FEW + 1)
    young = _look(database, bucket, age_s=60)

    # Then they count all the same, and no sweep deletes anything
    for swept in (young, _look(database, bucket), _look(database, bucket)):
        assert swept.deleted == 0
        assert f"No row names {len(keys)} of the {len(keys)} documents" in swept.trouble
        assert f"--let-sweep {len(keys)}" in swept.trouble
    assert _keys(bucket) == keys
    assert installation.troubles(database) == [swept.trouble]

    # When an operator permits that many deletions
    installation.allow(database, len(keys))
    assert _look(database, bucket).deleted == len(keys)

    # Then the permission is used up
    assert installation.troubles(database) == []
    keys = _put_many(bucket, tmp_path, ALWAYS_FEW + 1)
    assert _look(database, bucket).trouble
    assert _keys(bucket) == keys


@pytest.mark.parametrize(
    ("there", "most"),
    [(0, 20), (50, 20), (2_000, 20), (5_000, 50), (100_000, 1_000), (10_000_000, 1_000)],
)
def test_what_may_go_is_a_hundredth_but_a_few_at_least_and_a_thousand_at_most(
    there: int, most: int
) -> None:
    assert sweeps.limit(there) == most


def test_as_many_as_a_crash_leaves_go_also_in_a_small_bucket(
    database: Database, bucket: Objects, tmp_path: Path
) -> None:
    _put_many(bucket, tmp_path, ALWAYS_FEW)

    assert _sweep(database, bucket) == ALWAYS_FEW


class _Taken(Objects):
    """A bucket that gets another installation's mark just after it is listed."""

    def documents(self) -> Iterator[BucketObject]:
        yield from [*super().documents()]
        self.write(installation.mark_key(self), str(uuid4()).encode())


def test_a_bucket_that_becomes_another_s_during_a_sweep_loses_nothing(
    database: Database, bucket: Objects, own_store: ObjectStore, tmp_path: Path
) -> None:
    keys = _put_many(bucket, tmp_path, 3)
    _look(database, bucket)

    swept = _look(database, _Taken(own_store, max_connections=2))

    assert swept.deleted == 0
    assert "belongs to another installation" in swept.trouble
    assert _keys(bucket) == keys


def test_a_sweep_sees_what_is_below_its_prefix_and_nothing_else(
    database: Database, bucket: Objects, own_store: ObjectStore, tmp_path: Path
) -> None:
    below = Objects(replace(own_store, prefix="part/of/it/"), max_connections=2)
    factories.execute(database, "DELETE FROM installation")
    adoption.claim(database, below)
    outside = _put(bucket, tmp_path, _some_key())
    inside = _put(below, tmp_path, below.prefix + _some_key())
    deeper = _put(below, tmp_path, f"part/of/it/more/{_some_key()}")

    assert _sweep(database, below) == 1

    sizes = dict.fromkeys((outside, inside, deeper), len(DATA))
    assert bucket.present(sizes) == {outside, deeper}


def test_a_note_stays_while_its_document_is_under_way(
    database: Database, bucket: Objects, tmp_path: Path
) -> None:
    # Given an object swept before its row was written, and a PostgreSQL outage that lasted longer
    # than a note lives
    file = _taken(database)
    key = _put(bucket, tmp_path, _some_key(file.document_id))
    assert _sweep(database, bucket) == 1
    factories.execute(
        database, "UPDATE swept_objects SET sweep_time = sweep_time - interval '2 days'"
    )
    late = replace(file, take_time=file.take_time - timedelta(days=3))

    _look(database, bucket)

    with pytest.raises(LeaseLost):
        factories.stored(database, late, key)
    factories.execute(database, "DELETE FROM jobs")
    _look(database, bucket)
    assert factories.execute(database, "DELETE FROM swept_objects") == 0


def test_an_object_swept_while_it_was_being_stored_is_put_again(
    database: Database, bucket: Objects, tmp_path: Path
) -> None:
    file = _taken(database)
    key = _put(bucket, tmp_path, _some_key(file.document_id))

    assert _sweep(database, bucket) == 1
    with pytest.raises(LeaseLost):
        factories.stored(database, file, key)

    factories.age(database, file.job_id, 120)
    again = factories.take_upload(database, file.job_id, file.document_id, file.lease, lease_s=60)
    assert again, "its file is still there and must be put again"
    factories.stored(database, again, _put(bucket, tmp_path, key))
    assert _sweep(database, bucket) == 0
    assert bucket.present({key: len(DATA)}) == {key}


class _Meddled(Objects):
    """A bucket that runs a test's action just before it deletes objects."""

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
            # It waits for the lock for a moment only.
            say = partial(factories.stored, database, file, key)
            outcomes.append(retry_until_available(say, is_stopping=lambda: False))
        except LeaseLost as error:
            outcomes.append(error)

    storing = threading.Thread(target=store)

    def store_meanwhile() -> None:
        storing.start()
        until(
            lambda: bool(outcomes) or _waits_for_a_sweep(database), 60, "It neither ends nor waits."
        )

    _look(database, bucket)
    assert _look(database, _Meddled(own_store, store_meanwhile)).deleted == 1
    storing.join(60)

    [outcome] = outcomes
    assert isinstance(outcome, LeaseLost), "the row names an object that is gone"
    assert factories.documents(database, file.job_id)[0]["object_key"] is None


def _waits_for_a_sweep(database: Database) -> bool:
    with database.transaction() as transaction:
        row = transaction.only(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
            " AS waits"
        )
    return bool(row["waits"])


def _old_files(database: Database, spool: Spool) -> list[UUID]:
    """Return a file that a row names, and an old and a young one that no row names."""
    job_id = factories.listed_job(database, 1)
    owner = factories.claimed(database, job_id, spool_id=spool.spool_id).lease
    leases = [owner, uuid4(), uuid4()]
    for lease in leases:
        with spool.create(lease, 10) as file:
            file.write(DATA)
    past = time.time() - LEFTOVER_AGE_S - 1
    for lease in leases[:2]:
        os.utime(spool.path(lease), (past, past))
    return leases


def _left(spool: Spool, leases: list[UUID]) -> list[bool]:
    return [spool.path(lease).exists() for lease in leases]


def test_a_spool_file_without_an_owner_goes_when_it_is_old_and_was_seen_before(
    database: Database, spool: Spool
) -> None:
    installation.ensure(database)
    leases, heartbeat = _old_files(database, spool), Heartbeat(database, spool)
    heartbeat.beat()

    heartbeat.sweep()
    assert all(_left(spool, leases))
    heartbeat.sweep()

    assert _left(spool, leases) == [True, False, True]


def test_what_the_disk_does_not_let_go_stops_no_other_sweep(
    database: Database, spool: Spool
) -> None:
    # Given a leftover that cannot be removed
    installation.ensure(database)
    leases, heartbeat = _old_files(database, spool), Heartbeat(database, spool)
    heartbeat.beat()
    stuck = [uuid4() for _ in range(8)]
    for lease in stuck:
        spool.path(lease).mkdir()
        os.utime(spool.path(lease), (0, 0))

    with capture_logs() as lines:
        for _ in range(4):
            heartbeat.sweep()

    assert _left(spool, leases) == [True, False, True]
    assert all(_left(spool, stuck))
    assert [line for line in lines if line["log_level"] == "error"] == []


def test_the_files_of_another_installation_s_spool_stay(database: Database, spool: Spool) -> None:
    installation.ensure(database)
    leases, heartbeat = _old_files(database, spool), Heartbeat(database, spool)
    spool.take(uuid4())

    heartbeat.beat()
    heartbeat.sweep()
    heartbeat.sweep()

    assert all(_left(spool, leases))
    assert reconciliation.spool_problems(database) == [FOREIGN]


def test_a_spool_of_files_that_no_row_names_has_no_owner_until_it_is_empty(
    database: Database, spool: Spool
) -> None:
    # Given the files of a database that no longer exists
    installation.ensure(database)
    leases, heartbeat = _old_files(database, spool), Heartbeat(database, spool)
    factories.execute(database, "DELETE FROM jobs")

    heartbeat.beat()
    heartbeat.sweep()
    heartbeat.sweep()
    assert all(_left(spool, leases))
    assert reconciliation.spool_problems(database) == [UNKNOWN]

    for lease in leases:
        spool.remove(lease)
    heartbeat.beat()
    assert reconciliation.spool_problems(database) == []


def test_no_spool_file_goes_while_database_and_bucket_do_not_belong_together(
    database: Database, bucket: Objects, spool: Spool
) -> None:
    leases, heartbeat = _old_files(database, spool), Heartbeat(database, spool)
    heartbeat.beat()
    bucket.write(installation.mark_key(bucket), str(uuid4()).encode())
    assert installation.beat(database, bucket)

    heartbeat.sweep()
    heartbeat.sweep()

    assert all(_left(spool, leases))
