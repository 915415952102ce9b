"""The comparison of rows and bucket, for answers of the portal."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import replace

from storage.listings import case_answer
from storage.models import CaseAnswer
from storage.objects import verify
from storage.objects.object_store import Objects
from storage.objects.store_address import ObjectStore
from storage.objects.verify import Counts
from storage.postgres.database import Database
from tests.integration.harness import factories

PREFIX = "verified/"


def _answer(database: Database, client: str, body: bytes) -> str:
    """Insert an answer whose bytes the bucket does not have yet. Return its hash."""
    sha256 = hashlib.sha256(body).hexdigest()
    recorded = CaseAnswer.insert(
        client=client,
        process_number=factories.process_number(),
        sha256=sha256,
        size_bytes=len(body),
        is_sealed=False,
        data={},
        content=zlib.compress(body),
    )
    with database.transaction() as transaction:
        transaction.execute(recorded)
    return sha256


def test_answers_are_compared_as_documents_are(database: Database, store: ObjectStore) -> None:
    objects = Objects(replace(store, prefix=PREFIX), max_connections=2)
    objects.ensure_bucket()
    lost, other, gone = (_answer(database, client, client.encode() * 9) for client in "abc")
    assert case_answer.move_to_bucket(database, objects) == 3
    # Not moved yet: no object is expected.
    _answer(database, "d", b"[]")
    missing: dict[str, int] = {}

    found = verify.compare(database, objects, missing.__setitem__)

    assert (found.answers, missing, found.is_whole) == (Counts(3, 0, 0), {}, True)

    # When an object is lost, one has another size, and a row is gone
    keys = {each.key.rpartition("/")[2]: each.key for each in objects.answers()}
    objects.delete([keys[f"{lost}.json"]])
    objects.write(keys[f"{other}.json"], b"cut")
    factories.execute(database, "DELETE FROM case_answers WHERE sha256 = %(gone)s", gone=gone)
    found = verify.compare(database, objects, missing.__setitem__)

    assert (found.answers, found.is_whole) == (Counts(2, 2, 1), False)
    assert missing == {keys[f"{lost}.json"]: 9, keys[f"{other}.json"]: 9}
    objects.delete([each.key for each in objects.answers()])
