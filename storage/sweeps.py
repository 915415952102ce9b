"""Objects and multipart uploads that no row names: deleted by age, without a race.

An upload may put an object that the sweep has just found unnamed. So the sweep looks, deletes and
notes what it deleted under a lock on each key, which `claims.stored` shares: a row written before
the look keeps its object, and one written after it sees the note, so that the file is put again.
The note is dated after the deletion, however long that took: whoever took the file before may have
put it before, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

from storage.database import Database
from storage.objects import Objects
from storage.steps import lock_key

# How many keys are locked and deleted at once.
BATCH = 100
# A note outlives every upload that could have begun before it.
NOTE_LIFETIME_S = 86_400


def sweep(database: Database, objects: Objects, *, age_s: float) -> int:
    """Deletes what is older than `age_s` seconds and named by no row; how many objects.

    Raises ServiceUnavailable.
    """
    before = datetime.now(UTC) - timedelta(seconds=age_s)
    objects.abort_uploads(before)
    swept = sum(delete_unnamed(database, objects, keys) for keys in _batches(objects.keys(before)))
    with database.transaction() as transaction:
        transaction.run(
            "DELETE FROM swept_objects WHERE sweep_time <"
            " clock_timestamp() - %(lifetime_s)s * interval '1 second'",
            lifetime_s=NOTE_LIFETIME_S,
        )
    return swept


def delete_unnamed(database: Database, objects: Objects, keys: list[str]) -> int:
    """Deletes those of the objects that no row names; how many."""
    with database.transaction() as transaction:
        unnamed = _unnamed(transaction.all(_NAMED, keys=keys), keys)
        if not unnamed:
            return 0
        # Stays whatever becomes of us: the next note comes when the objects are gone.
        transaction.run(_NOTE, keys=unnamed)
    with database.transaction() as transaction:
        # The locks must outlive the request to S3, however slow that is.
        transaction.run("SET LOCAL idle_in_transaction_session_timeout = 0")
        transaction.run(
            f"SELECT {lock_key('key')} FROM"
            " (SELECT unnest(%(keys)s::text[]) AS key ORDER BY 1) AS sorted",
            keys=keys,
        )
        unnamed = _unnamed(transaction.all(_NAMED, keys=keys), keys)
        failure = _deletion(objects, unnamed) if unnamed else None
        transaction.run(_NOTE, keys=unnamed)
    if failure:
        raise failure
    return len(unnamed)


def _deletion(objects: Objects, keys: list[str]) -> Exception | None:
    """Deletes; what failed, if anything did. Then some of them may be gone all the same."""
    try:
        objects.delete(keys)
    except Exception as error:  # noqa: BLE001 - raised again, once the note is there
        return error
    return None


# In one order: several sweeps may note the same keys.
_NOTE = """
INSERT INTO swept_objects (object_key, sweep_time)
SELECT key, clock_timestamp() FROM unnest(%(keys)s::text[]) AS key ORDER BY key
ON CONFLICT (object_key) DO UPDATE SET sweep_time = excluded.sweep_time
"""
_NAMED = "SELECT DISTINCT object_key FROM documents WHERE object_key = ANY(%(keys)s)"


def _unnamed(rows: list[dict[str, str]], keys: list[str]) -> list[str]:
    named = {row["object_key"] for row in rows}
    return [key for key in keys if key not in named]


def _batches(keys: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(keys)
    while batch := list(islice(rest, BATCH)):
        yield batch
