"""Objects that no row names: named by one sweep, deleted by a later one, without a race.

A sweep deletes only where database and bucket name the same installation, never what was there
when the bucket was adopted, and nothing at all if more than `limit` would go: then rows are
missing, not objects left over.

An upload may put an object that the sweep has just found unnamed. So the sweep looks, deletes and
notes what it deleted under a lock on each key, which `record_stored` shares: a row written before
the look keeps its object, and one written after it sees the note, so that the file is put again.
The note is dated after the deletion, however long that took: whoever took the file before may have
put it before, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TypeVar

from storage import installation
from storage.database import Database, in_list
from storage.installation import Installation
from storage.objects import Objects, StoredObject
from storage.states import IN_LANE
from storage.steps import lock_key

T = TypeVar("T")

# How many keys are looked for, and locked and deleted, at once.
LOOK_BATCH = 1_000
BATCH = 100
# A note outlives every upload that could have begun before it.
NOTE_LIFETIME_S = 86_400
# A crash of everything leaves a few objects without a row, however small the bucket is.
ALWAYS_FEW = 20
AT_MOST = 1_000


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did.

    `deleted`: objects. `spared`: objects without a row that were there when the bucket was
    adopted. `trouble`: why nothing was deleted; empty if all that may go is gone.
    """

    deleted: int = 0
    spared: int = 0
    trouble: str = ""


def limit(there: int) -> int:
    """Return how many of `there` objects may have no row: 1 %, but at least 20, at most 1,000."""
    return min(AT_MOST, max(ALWAYS_FEW, there // 100))


def sweep(database: Database, objects: Objects, *, age_s: float, rest_s: float) -> Swept:
    """Name what no row names, and delete what an earlier sweep has named.

    Args: `age_s`, the age in seconds from which on an object may go; `rest_s`, for how many
    seconds it must have been named. Raises ServiceUnavailable.
    """
    if trouble := installation.disagreement(database, objects):
        return Swept(trouble=trouble)
    row = installation.ensure(database)
    with database.single() as transaction:
        begin = transaction.only("SELECT clock_timestamp() AS now")["now"]
    look = _look(database, objects, row, datetime.now(UTC) - timedelta(seconds=age_s))
    trouble = _too_many(look, row)
    with database.transaction() as transaction:
        # Those that have a row now, or are gone.
        transaction.run("DELETE FROM sweep_candidates WHERE see_time < %(begin)s", begin=begin)
        transaction.run("UPDATE installation SET sweep_trouble = %(trouble)s", trouble=trouble)
    if trouble:
        return Swept(spared=look.spared, trouble=trouble)
    deleted, trouble = _delete(database, objects, begin, rest_s)
    if deleted and not trouble:
        with database.single() as transaction:
            transaction.run(_END_ALLOWANCE, begin=begin)
    _forget_notes(database)
    return Swept(deleted, look.spared, trouble)


@dataclass(slots=True)
class _Look:
    there: int = 0
    unnamed: int = 0
    spared: int = 0


def _look(database: Database, objects: Objects, row: Installation, before: datetime) -> _Look:
    """Counts what no row names, also what is too young to go, and names what is old."""
    look, most = _Look(), max(AT_MOST, row.sweep_allowance)
    for batch in batches(objects.documents(), LOOK_BATCH):
        look.there += len(batch)
        without_row = {*unnamed(database, [each.key for each in batch])}
        found = [each for each in batch if each.key in without_row]
        going = [each for each in found if _may_go(each, row)]
        look.spared += len(found) - len(going)
        look.unnamed += len(going)
        if look.unnamed <= most:
            with database.single() as transaction:
                keys = sorted(each.key for each in going if each.stored_time < before)
                transaction.run(_NAME, keys=keys)
    return look


def _may_go(found: StoredObject, row: Installation) -> bool:
    is_newer = row.adopt_time is None or found.stored_time > row.adopt_time
    return is_newer or row.sweep_allowance > 0


def _too_many(look: _Look, row: Installation) -> str:
    most = max(limit(look.there), row.sweep_allowance)
    if look.unnamed <= most:
        return ""
    return (
        f"No row names {look.unnamed} of the {look.there} documents in the bucket, and a sweep"
        f" deletes {most} at most: find out where their rows are; only if all of them may go, run"
        f" `python -m storage.release --let-sweep {look.unnamed}`."
    )


def _delete(
    database: Database, objects: Objects, begin: datetime, rest_s: float
) -> tuple[int, str]:
    """Deletes what was named long enough ago; how many, and what kept it from going on."""
    deleted, last = 0, ""
    while True:
        with database.single() as transaction:
            rows = transaction.all(_NAMED_BEFORE, begin=begin, rest_s=rest_s, last=last)
        if not rows:
            return deleted, ""
        keys = [row["object_key"] for row in rows]
        if trouble := installation.disagreement(database, objects):
            return deleted, trouble
        deleted, last = deleted + delete_unnamed(database, objects, keys), keys[-1]


def delete_unnamed(database: Database, objects: Objects, keys: list[str]) -> int:
    """Deletes those of the objects that no row names; how many."""
    with database.transaction() as transaction:
        going = _unnamed(transaction.all(_NAMED, keys=keys), keys)
        transaction.run("DELETE FROM sweep_candidates WHERE object_key = ANY(%(k)s)", k=keys)
        if not going:
            return 0
        # Stays whatever becomes of us: the next note comes when the objects are gone.
        transaction.run(_NOTE, keys=going)
    with database.transaction() as transaction:
        # The locks must outlive the request to S3, however slow that is.
        transaction.run("SET LOCAL idle_in_transaction_session_timeout = 0")
        transaction.run(
            f"SELECT {lock_key('key')} FROM"
            " (SELECT unnest(%(keys)s::text[]) AS key ORDER BY 1) AS sorted",
            keys=keys,
        )
        going = _unnamed(transaction.all(_NAMED, keys=keys), keys)
        failure = _deletion(objects, going) if going else None
        transaction.run(_NOTE, keys=going)
    if failure:
        raise failure
    return len(going)


def _deletion(objects: Objects, keys: list[str]) -> Exception | None:
    """Deletes; what failed, if anything did. Then some of them may be gone all the same."""
    try:
        objects.delete(keys)
    except Exception as error:  # noqa: BLE001 - raised again, once the note is there
        return error
    return None


def _forget_notes(database: Database) -> None:
    with database.single() as transaction:
        transaction.run(_FORGET, lifetime_s=NOTE_LIFETIME_S)


_NAME = """
INSERT INTO sweep_candidates (object_key, find_time, see_time)
SELECT key, now, now FROM unnest(%(keys)s::text[]) AS key, clock_timestamp() AS now ORDER BY key
ON CONFLICT (object_key) DO UPDATE
    SET see_time = greatest(sweep_candidates.see_time, excluded.see_time)
"""
_NAMED_BEFORE = f"""
SELECT object_key FROM sweep_candidates
WHERE see_time >= %(begin)s AND find_time < %(begin)s - %(rest_s)s * interval '1 second'
    AND object_key > %(last)s ORDER BY object_key LIMIT {BATCH}
"""
# What an operator allowed is done.
_END_ALLOWANCE = """
UPDATE installation SET sweep_allowance = 0
WHERE sweep_allowance > 0
    AND NOT EXISTS (SELECT FROM sweep_candidates WHERE see_time >= %(begin)s)
"""
# In one order: several sweeps may note the same keys.
_NOTE = """
INSERT INTO swept_objects (object_key, sweep_time)
SELECT key, clock_timestamp() FROM unnest(%(keys)s::text[]) AS key ORDER BY key
ON CONFLICT (object_key) DO UPDATE SET sweep_time = excluded.sweep_time
"""
# A document that is under way may have been put before the note, however long ago that is.
_FORGET = f"""
DELETE FROM swept_objects
WHERE sweep_time < clock_timestamp() - %(lifetime_s)s * interval '1 second'
    AND NOT EXISTS (SELECT FROM documents d WHERE d.state IN ({in_list(sorted(IN_LANE))})
        AND strpos(swept_objects.object_key, '/' || d.document_id || '/') > 0)
"""
_NAMED = "SELECT DISTINCT object_key FROM documents WHERE object_key = ANY(%(keys)s)"


def unnamed(database: Database, keys: list[str]) -> list[str]:
    """Return those of the keys that no row names. Raises ServiceUnavailable."""
    with database.single() as transaction:
        return _unnamed(transaction.all(_NAMED, keys=keys), keys)


def _unnamed(rows: list[dict[str, str]], keys: list[str]) -> list[str]:
    named = {row["object_key"] for row in rows}
    return [key for key in keys if key not in named]


def batches(found: Iterable[T], size: int) -> Iterator[list[T]]:
    """Return what is found in lists of up to `size`."""
    rest = iter(found)
    while batch := list(islice(rest, size)):
        yield batch
