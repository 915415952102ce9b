"""Sweeps of objects without a row. One sweep names them and a later one deletes them, without a
race.

A sweep deletes only if database and bucket name the same installation. It never deletes an object
that was in the bucket at its adoption. It deletes nothing at all if more than `limit` objects would
go: in that case rows are missing, and the objects are no orphans.

An upload may put an object that the sweep has just found without a row. So the sweep checks,
deletes and records what it deleted under a lock on each key, which `record_stored` shares. A row
written before the check keeps its object. A row written after it finds the sweep's record, so that
the file is put again. The record is dated after the deletion, however long the deletion took. A
file that was taken before that date may have been put before the deletion, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

from peewee import fn

from storage import sql
from storage.event_counters import OBJECTS_SWEPT
from storage.models import Document, Installation, SweepCandidate, SweptObject
from storage.models.base import is_any, time_after
from storage.objects import installation
from storage.objects.installation import InstallationRecord
from storage.objects.object_store import BucketObject, Objects
from storage.postgres.database import Database, Transaction
from storage.states import IN_LANE

T = TypeVar("T")

# How many keys are checked, locked and deleted at once.
LOOK_BATCH = 1_000
BATCH = 100
# A sweep's record outlives every upload that could have begun before it.
NOTE_LIFETIME_S = 86_400
# A crash of all processes leaves a few objects without a row, however small the bucket is.
ALWAYS_FEW = 20
AT_MOST = 1_000


@dataclass(frozen=True, slots=True)
class Swept:
    """The result of a sweep.

    `deleted`: number of objects. `spared`: objects without a row that were in the bucket at its
    adoption. `trouble`: why nothing was deleted; empty if every object that may go is gone.
    """

    deleted: int = 0
    spared: int = 0
    trouble: str = ""


def limit(there: int) -> int:
    """Return how many of `there` objects may have no row: 1 %, but at least 20, at most 1,000."""
    return min(AT_MOST, max(ALWAYS_FEW, there // 100))


def sweep(database: Database, objects: Objects, *, age_s: float, rest_s: float) -> Swept:
    """Name the objects without a row, and delete those that an earlier sweep has named.

    Args: `age_s`, the age in seconds from which on an object may go; `rest_s`, for how many seconds
    it must have been named. Raises ServiceUnavailable.
    """
    if trouble := installation.disagreement(database, objects):
        return Swept(trouble=trouble)
    row = installation.ensure(database)
    with database.autocommit() as transaction:
        begin = transaction.now()
    survey = _survey(database, objects, row, datetime.now(UTC) - timedelta(seconds=age_s))
    trouble = _too_many(survey, row)
    with database.transaction() as transaction:
        # Candidates that have a row now, or are gone.
        transaction.execute(SweepCandidate.delete().where(SweepCandidate.see_time < begin))
        transaction.execute(Installation.update(sweep_trouble=trouble))
    if trouble:
        return Swept(spared=survey.spared, trouble=trouble)
    deleted, trouble = _delete(database, objects, begin, rest_s)
    if deleted and not trouble:
        with database.autocommit() as transaction:
            transaction.execute(_end_allowance(begin))
    _forget_notes(database)
    return Swept(deleted, survey.spared, trouble)


@dataclass(slots=True)
class _Survey:
    there: int = 0
    unnamed: int = 0
    spared: int = 0


def _survey(
    database: Database, objects: Objects, row: InstallationRecord, before: datetime
) -> _Survey:
    """Count the objects without a row, including young ones, and name the old ones."""
    survey, most = _Survey(), max(AT_MOST, row.sweep_allowance)
    for batch in batches(objects.documents(), LOOK_BATCH):
        survey.there += len(batch)
        without_row = {*unnamed(database, [each.key for each in batch])}
        found = [each for each in batch if each.key in without_row]
        going = [each for each in found if _may_go(each, row)]
        survey.spared += len(found) - len(going)
        survey.unnamed += len(going)
        if survey.unnamed <= most:
            with database.autocommit() as transaction:
                keys = sorted(each.key for each in going if each.stored_time < before)
                transaction.run(sql.statement("name_sweep_candidates"), keys=keys)
    return survey


def _may_go(found: BucketObject, row: InstallationRecord) -> bool:
    is_newer = row.adopt_time is None or found.stored_time > row.adopt_time
    return is_newer or row.sweep_allowance > 0


def _too_many(survey: _Survey, row: InstallationRecord) -> str:
    most = max(limit(survey.there), row.sweep_allowance)
    if survey.unnamed <= most:
        return ""
    return (
        f"No row names {survey.unnamed} of the {survey.there} documents in the bucket, and a sweep"
        f" deletes {most} at most: find out where their rows are; only if all of them may go, run"
        f" `python -m storage.release --let-sweep {survey.unnamed}`."
    )


def _delete(
    database: Database, objects: Objects, begin: datetime, rest_s: float
) -> tuple[int, str]:
    """Delete the objects that were named long enough ago.

    Return their number, and the problem that stopped the deletion, if there was one.
    """
    deleted, last = 0, ""
    while True:
        with database.autocommit() as transaction:
            found = transaction.fetch(_named_before(begin, rest_s, last))
        if not found:
            return deleted, ""
        keys = [key for (key,) in found]
        if trouble := installation.disagreement(database, objects):
            return deleted, trouble
        deleted, last = deleted + delete_unnamed(database, objects, keys), keys[-1]


def delete_unnamed(database: Database, objects: Objects, keys: list[str]) -> int:
    """Delete those of the objects that no row names. Return their number."""
    with database.transaction() as transaction:
        going = _unnamed(transaction, keys)
        transaction.execute(SweepCandidate.delete().where(is_any(SweepCandidate.object_key, keys)))
        if not going:
            return 0
        # Committed before the deletion, so that it stays after a crash. The next record follows
        # when the objects are gone.
        transaction.run(sql.statement("note_swept_objects"), keys=going)
    with database.transaction() as transaction:
        # The locks must outlive the request to S3, however slow it is.
        transaction.set_local(idle_in_transaction_session_timeout="0")
        transaction.run(sql.statement("lock_objects"), keys=keys)
        going = _unnamed(transaction, keys)
        failure = _deletion(objects, going) if going else None
        transaction.run(sql.statement("note_swept_objects"), keys=going)
    if failure:
        raise failure
    database.counted(OBJECTS_SWEPT, by=len(going))
    return len(going)


def _deletion(objects: Objects, keys: list[str]) -> Exception | None:
    """Delete objects. Return the error, if there was one; some objects may be gone all the same."""
    try:
        objects.delete(keys)
    except Exception as error:  # noqa: BLE001 - raised again, once the note is there
        return error
    return None


def _forget_notes(database: Database) -> None:
    # A document that is being uploaded may have been put before the record, however old it is.
    is_under_way = fn.EXISTS(
        Document.select(Document.document_id).where(
            Document.state.in_(sorted(IN_LANE)),
            fn.strpos(SweptObject.object_key, fn.CONCAT("/", Document.document_id, "/")) > 0,
        )
    )
    is_old = SweptObject.sweep_time < time_after(-NOTE_LIFETIME_S)
    with database.autocommit() as transaction:
        transaction.execute(SweptObject.delete().where(is_old, ~is_under_way))


def _named_before(begin: datetime, rest_s: float, last: str) -> Any:
    """Return the query for the next keys that were named long enough before `begin`."""
    return (
        SweepCandidate.select(SweepCandidate.object_key)
        .where(
            SweepCandidate.see_time >= begin,
            SweepCandidate.find_time < begin - timedelta(seconds=rest_s),
            SweepCandidate.object_key > last,
        )
        .order_by(SweepCandidate.object_key)
        .limit(BATCH)
        .tuples()
    )


def _end_allowance(begin: datetime) -> Any:
    """Return the statement that ends an operator's allowance, once it is used."""
    left = SweepCandidate.select(SweepCandidate.object_key).where(SweepCandidate.see_time >= begin)
    return Installation.update(sweep_allowance=0).where(
        Installation.sweep_allowance > 0, ~fn.EXISTS(left)
    )


def unnamed(database: Database, keys: list[str]) -> list[str]:
    """Return those of the keys that no row names. Raises ServiceUnavailable."""
    with database.autocommit() as transaction:
        return _unnamed(transaction, keys)


def _unnamed(transaction: Transaction, keys: list[str]) -> list[str]:
    query = Document.select(Document.object_key).where(is_any(Document.object_key, keys))
    named = {key for (key,) in transaction.fetch(query.distinct().tuples())}
    return [key for key in keys if key not in named]


def batches(found: Iterable[T], size: int) -> Iterator[list[T]]:
    """Return the items in lists of up to `size`."""
    rest = iter(found)
    while batch := list(islice(rest, size)):
        yield batch
