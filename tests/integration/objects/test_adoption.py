"""Test adoption: a bucket belongs to one installation, and unknown objects are not deleted."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from uuid import UUID, uuid4

import pytest

from actors.scheduler.sweeper import Sweeper
from dev.embedded.embedded_servers import EmbeddedServers
from storage.errors import ConfigurationError
from storage.objects import adoption, installation, sweeps
from storage.objects.adoption import Contents
from storage.objects.object_names import object_key
from storage.objects.object_store import Objects
from storage.objects.store_address import ObjectStore
from storage.objects.sweeps import ALWAYS_FEW
from storage.objects.uploads import Upload
from storage.postgres.database import Database
from tests.conftest import PORTAL_TOKEN, WEBHOOK_SECRET
from tests.integration.harness import factories
from tests.integration.harness.concurrency import run_concurrently
from tests.integration.harness.empty_databases import EmptyDatabases
from tests.integration.objects.test_sweeps import empty

DATA = b"the bytes of any document"
SHA256 = hashlib.sha256(DATA).hexdigest()
BUCKET = "adoptions"


@pytest.fixture
def own_store(store: ObjectStore) -> ObjectStore:
    """Return the settings of a bucket for these tests only."""
    return replace(store, bucket=BUCKET)


@pytest.fixture
def bucket(own_store: ObjectStore) -> Objects:
    """Yield that bucket, completely empty."""
    objects = Objects(own_store, max_connections=8)
    objects.ensure_bucket()
    empty(objects, own_store)
    return objects


@pytest.fixture
def other(databases: EmptyDatabases) -> Iterator[Database]:
    """Yield the database of another installation."""
    with databases.one() as url:
        database = Database(url, max_connections=4)
        yield database
        database.close()


def _put(objects: Objects, document_id: UUID | None = None) -> str:
    number = factories.process_number()
    key = objects.prefix + object_key(
        factories.CLIENT, number, document_id or uuid4(), SHA256, "pdf"
    )
    objects.put(Upload(DATA, key, len(DATA), SHA256, "application/pdf", "name"))
    return key


def _store(database: Database, objects: Objects, count: int = 1) -> list[str]:
    """Store documents with their rows in the bucket; return their keys."""
    job_id, keys = factories.listed_job(database, count), []
    for _ in range(count):
        file = factories.upload(database, factories.claimed(database, job_id))
        keys.append(_put(objects, file.document_id))
        factories.stored(database, file, keys[-1])
    return keys


def _keys(objects: Objects) -> list[str]:
    return sorted(each.key for each in objects.documents())


def _sweep_twice(database: Database, objects: Objects) -> int:
    """Return what two sweeps delete, with an age limit that exempts no object."""
    return sum(sweeps.sweep(database, objects, age_s=-10, rest_s=0).deleted for _ in range(2))


# The owner of a bucket.


def test_a_bucket_is_marked_once_and_stays_its_installation_s(
    database: Database, other: Database, bucket: Objects
) -> None:
    adoption.claim(database, bucket)
    adoption.claim(database, bucket)

    ours = installation.ensure(database).installation_id
    assert installation.owner(bucket) == str(ours)
    with pytest.raises(ConfigurationError) as refused:
        adoption.claim(other, bucket)
    sentence = str(refused.value)
    assert f"The bucket adoptions belongs to another installation, {ours}: " in sentence
    assert "set S3_BUCKET or S3_PREFIX" in sentence
    assert "--adopt-bucket" in sentence
    assert installation.owner(bucket) == str(ours)


def test_of_eight_databases_that_claim_one_bucket_at_once_one_gets_it(
    databases: EmptyDatabases, bucket: Objects
) -> None:
    def claim(database: Database) -> UUID | None:
        try:
            adoption.claim(database, bucket)
        except ConfigurationError:
            return None
        return installation.ensure(database).installation_id

    def claim_with_a_database_of_its_own() -> UUID | None:
        with databases.one() as url:
            database = Database(url, max_connections=1)
            try:
                return claim(database)
            finally:
                database.close()

    outcomes = run_concurrently([claim_with_a_database_of_its_own] * 8)

    [winner] = filter(None, outcomes)
    assert installation.owner(bucket) == str(winner)


def test_installations_share_a_bucket_under_prefixes_of_their_own(
    database: Database, other: Database, bucket: Objects, own_store: ObjectStore
) -> None:
    theirs = Objects(replace(own_store, prefix="theirs/"), max_connections=2)
    adoption.claim(database, bucket)
    adoption.claim(other, theirs)
    ours, kept = _store(database, bucket), _store(other, theirs)
    left, left_there = _put(bucket), _put(theirs)

    assert (_sweep_twice(database, bucket), _sweep_twice(other, theirs)) == (1, 1)

    assert kept[0].startswith("theirs/")
    assert (_keys(bucket), _keys(theirs)) == (ours, kept)
    assert {left, left_there}.isdisjoint({*_keys(bucket), *_keys(theirs)})


def test_no_key_of_a_document_is_taken_for_the_mark(bucket: Objects, database: Database) -> None:
    adoption.claim(database, bucket)
    installation.beat(database, bucket)

    assert _keys(bucket) == []


# A bucket older than the mark.


def test_a_new_database_does_not_get_a_bucket_with_documents(
    database: Database, bucket: Objects
) -> None:
    key = _put(bucket)

    with pytest.raises(ConfigurationError, match=r"1 documents without a mark.*--adopt-bucket"):
        adoption.claim(database, bucket)

    assert installation.owner(bucket) is None
    assert _sweep_twice(database, bucket) == 0
    assert _keys(bucket) == [key]


def test_a_bucket_is_its_rows_also_if_a_crash_has_left_objects_which_then_stay(
    database: Database, bucket: Objects
) -> None:
    kept = [*_store(database, bucket), *(_put(bucket) for _ in range(ALWAYS_FEW))]

    adoption.claim(database, bucket)

    assert _sweep_twice(database, bucket) == 0
    assert _keys(bucket) == sorted(kept)


def test_a_bucket_in_which_rows_name_too_little_is_refused(
    database: Database, bucket: Objects
) -> None:
    _store(database, bucket)
    for _ in range(ALWAYS_FEW + 1):
        _put(bucket)

    with pytest.raises(ConfigurationError, match="no row of this database names 21 of them"):
        adoption.claim(database, bucket)


# After a restore.


def test_an_adoption_reports_what_it_found_and_spares_it_until_an_operator_decides(
    database: Database, other: Database, bucket: Objects
) -> None:
    # Given an old bucket, and a database that was restored from an older dump
    adoption.claim(other, bucket)
    kept = _store(database, bucket, 2)
    gone = kept.pop()
    bucket.delete([gone])
    unnamed = [_put(bucket), _put(bucket)]

    # When it is adopted
    found = adoption.adopt(database, bucket)

    # Then no object of before is deleted, and later objects are swept as usual
    assert found == Contents(there=3, unnamed=2, missing=1, elsewhere=0)
    assert installation.disagreement(database, bucket) == ""
    assert "another installation" in installation.disagreement(other, bucket)
    assert _sweep_twice(database, bucket) == 0
    assert _keys(bucket) == sorted([*kept, *unnamed])
    assert sweeps.sweep(database, bucket, age_s=-10, rest_s=0).spared == 2
    installation.allow(database, 2)
    assert _sweep_twice(database, bucket) == 2
    assert _keys(bucket) == kept


def test_what_is_put_after_an_adoption_is_swept_as_ever(
    database: Database, bucket: Objects, own_store: ObjectStore
) -> None:
    adoption.adopt(database, bucket)
    _age_adoption(database)
    _put(bucket)

    assert _sweep_twice(database, bucket) == 1


def _age_adoption(database: Database) -> None:
    # S3 dates have a resolution of one second.
    factories.execute(
        database, "UPDATE installation SET adopt_time = adopt_time - interval '2 seconds'"
    )


def test_rows_with_keys_outside_the_prefix_are_counted_separately(
    database: Database, bucket: Objects, own_store: ObjectStore
) -> None:
    _store(database, bucket)
    below = Objects(replace(own_store, prefix="new/"), max_connections=2)

    assert adoption.adopt(database, below) == Contents(0, 0, missing=0, elsewhere=1)


def test_a_database_that_is_older_than_its_bucket_deletes_nothing_until_it_adopts_it(
    database: Database, bucket: Objects
) -> None:
    # Given a database restored to a time before the bucket's last heartbeat
    adoption.claim(database, bucket)
    assert installation.beat(database, bucket) == ""
    factories.execute(database, "UPDATE installation SET beat = beat - 1")
    lost = _put(bucket)

    # Then it does not own this bucket, however long it runs
    sweeper = Sweeper(database, bucket, age_s=-10.0)
    for _ in range(3):
        sweeper.look()
    assert _sweep_twice(database, bucket) == 0
    [trouble] = installation.troubles(database)
    assert "older than its bucket" in trouble
    assert "--adopt-bucket" in trouble

    # When it is adopted, then objects without a row stay
    adoption.adopt(database, bucket)
    sweeper.look()
    assert installation.troubles(database) == []
    assert _sweep_twice(database, bucket) == 0
    assert _keys(bucket) == [lost]


@pytest.mark.parametrize("left", [None, b"", b"<html>closed</html>"])
def test_a_bucket_that_has_lost_its_beat_loses_nothing_until_it_is_adopted(
    database: Database, bucket: Objects, left: bytes | None
) -> None:
    # Given a bucket that was copied without its beat, or whose beat cannot be read
    adoption.claim(database, bucket)
    beat = installation.beat_key(bucket, installation.ensure(database).installation_id)
    assert installation.beat(database, bucket) == ""
    key = _put(bucket)
    bucket.delete([beat])
    if left is not None:
        bucket.write(beat, left)

    # Then nothing shows whether the database is the older of the two
    assert "has lost the beat" in installation.beat(database, bucket)
    assert _sweep_twice(database, bucket) == 0
    adoption.adopt(database, bucket)
    assert installation.beat(database, bucket) == ""
    assert _keys(bucket) == [key]


def test_a_page_in_place_of_a_mark_is_cut_in_the_sentence(
    database: Database, bucket: Objects
) -> None:
    bucket.write(installation.mark_key(bucket), b"<html>\n" + b"x" * 10_000)
    with pytest.raises(ConfigurationError) as refused:
        adoption.claim(database, bucket)
    assert len(str(refused.value)) < 500
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("mark", [b"", b"\0" * 36, b"\x1b[31m\0", b"\xff\xfe", "\u202e".encode()])
def test_a_mark_of_any_bytes_stops_the_sweeps_with_a_sentence(
    database: Database, bucket: Objects, mark: bytes
) -> None:
    adoption.claim(database, bucket)
    bucket.write(installation.mark_key(bucket), mark)

    trouble = installation.beat(database, bucket)

    assert trouble.startswith("The bucket adoptions belongs to another installation, ")
    assert trouble.isprintable()
    assert not trouble.endswith(" .")
    assert installation.troubles(database) == [trouble]


@pytest.mark.parametrize("beat", [b"9" * 19, b"9" * 5_000, b"-1", b"\0", "\u0662".encode()])
def test_an_adoption_cures_a_beat_of_any_bytes(
    database: Database, bucket: Objects, beat: bytes
) -> None:
    adoption.claim(database, bucket)
    ours = installation.ensure(database).installation_id
    bucket.write(installation.beat_key(bucket, ours), beat)
    assert "run `python -m storage.release --adopt-bucket`" in installation.beat(database, bucket)

    adoption.adopt(database, bucket)

    assert installation.beat(database, bucket) == ""


def test_rows_under_a_longer_prefix_are_elsewhere(
    database: Database, bucket: Objects, own_store: ObjectStore
) -> None:
    below = Objects(replace(own_store, prefix="a/b/"), max_connections=2)
    _store(database, below)
    for prefix in ("", "a/"):
        above = Objects(replace(own_store, prefix=prefix), max_connections=2)
        assert adoption.contents(database, above) == Contents(0, 0, missing=0, elsewhere=1)
    assert adoption.contents(database, below) == Contents(1, 0, missing=0, elsewhere=0)


def test_a_bucket_without_a_mark_or_with_another_s_loses_nothing(
    database: Database, bucket: Objects
) -> None:
    adoption.claim(database, bucket)
    key, mark = _put(bucket), installation.mark_key(bucket)

    bucket.delete([mark])
    for mark_found in (None, b"another"):
        if mark_found:
            bucket.write(mark, mark_found)
        assert installation.beat(database, bucket)
        assert installation.troubles(database)
        assert _sweep_twice(database, bucket) == 0
    assert _keys(bucket) == [key]
    assert factories.execute(database, "DELETE FROM sweep_candidates") == 0, "nor is anything named"


def test_a_scheduler_without_sweeps_still_compares_and_deletes_nothing(
    database: Database, bucket: Objects
) -> None:
    adoption.claim(database, bucket)
    key, sweeper = _put(bucket), Sweeper(database, bucket, age_s=None)

    sweeper.look()
    assert installation.beat_of(bucket, installation.ensure(database).installation_id) == 1
    bucket.write(installation.mark_key(bucket), b"another")
    sweeper.look()

    assert len(installation.troubles(database)) == 1
    assert _keys(bucket) == [key]


# A store without support for If-None-Match.


class _Old(BaseHTTPRequestHandler):
    """A store that rejects unknown headers and accepts every other request."""

    taken: list[str] = []  # noqa: RUF012 - of the one test

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_known = "If-None-Match" not in self.headers
        body = b"" if is_known else b"<Error><Code>NotImplemented</Code></Error>"
        self.send_response(200 if is_known else 501)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/xml")
        self.end_headers()
        self.wfile.write(body)
        if is_known:
            self.taken.append(self.path)

    def log_message(self, *args: object) -> None:
        """Log nothing."""


def test_a_store_that_refuses_the_condition_gets_the_mark_without_it(store: ObjectStore) -> None:
    with HTTPServer(("127.0.0.1", 0), _Old) as server:
        thread = Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        Objects(replace(store, endpoint_url=url), max_connections=1).write(
            "mark", b"x", is_new=True
        )
        server.shutdown()
        thread.join()

    assert _Old.taken == [f"/{store.bucket}/mark"]


# The command.


def _release(servers: EmbeddedServers, url: str, *flags: str, **env: str) -> tuple[int, str]:
    settings = {
        **servers.env,
        "DATABASE_URL": url,
        "S3_BUCKET": BUCKET,
        "PDPJ_TOKEN": PORTAL_TOKEN,
        "WEBHOOK_SECRET": WEBHOOK_SECRET,
        "PATH": os.defpath,
        **env,
    }
    done = subprocess.run(
        [sys.executable, "-m", "storage.release", *flags],
        env=settings,
        capture_output=True,
        timeout=100,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).decode()


def test_release_refuses_adopts_and_lets_sweep(
    servers: EmbeddedServers, databases: EmptyDatabases, bucket: Objects
) -> None:
    with databases.one() as url, databases.one() as other_url:
        assert _release(servers, url)[0] == 0
        _put(bucket)

        code, printed = _release(servers, other_url)
        assert code == 1
        assert printed.count("\n") == 1
        assert printed.startswith("autos release: The bucket adoptions belongs to another")
        assert _release(servers, other_url, S3_PREFIX="theirs")[0] == 0

        code, printed = _release(servers, other_url, "--adopt-bucket")
        assert code == 0
        assert "Documents in it: 1, of which rows name 0, and 1 have no row and stay." in printed
        assert _release(servers, url)[0] == 1
        assert _release(servers, other_url, "--let-sweep", "7")[0] == 0

        other = Database(other_url, max_connections=1)
        assert installation.ensure(other).sweep_allowance == 7
        other.close()
    assert base64.b64decode(WEBHOOK_SECRET.removeprefix("whsec_")) not in printed.encode()
