"""Record that files were fetched, and that the bucket holds them. One file is a list of one.

A round skips the jobs and the keys that other transactions hold. Their files are `busy`. The caller
records them in the next round. After BUSY_ROUNDS rounds it records them alone and waits for the
rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

import structlog

from storage import sql
from storage.errors import RowsLocked, ServiceUnavailable
from storage.event_counters import DOCUMENTS_ENDED, JOBS_ENDED
from storage.portal.document_claims import CheckedContent, CheckedFile, DocumentClaim
from storage.postgres.database import Database, Row
from storage.states import DocumentState

log: structlog.stdlib.BoundLogger = structlog.get_logger()

BUSY_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A complete and checked file, which is recorded when it is in the spool."""

    claim: DocumentClaim
    content: CheckedContent

    @property
    def lease(self) -> UUID:
        """Return the token of its claim."""
        return self.claim.lease


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that the bucket holds under `key`."""

    file: CheckedFile
    key: str

    @property
    def lease(self) -> UUID:
        """Return the token of its claim."""
        return self.file.lease


@dataclass(slots=True)
class Round:
    """The result of a round of records. Files are named by their leases.

    `lost`: the claim is over. `busy`: not recorded yet, record it again. `has_noted_answers`: the
    slots of the answers are free. `ended`: the jobs that ended, each with the positions of its due
    webhooks.
    """

    recorded: set[UUID] = field(default_factory=set)
    lost: set[UUID] = field(default_factory=set)
    busy: set[UUID] = field(default_factory=set)
    has_noted_answers: bool = False
    ended: dict[UUID, Sequence[int]] = field(default_factory=dict)

    def join(self, other: Round) -> None:
        """Add the result of other files."""
        self.recorded |= other.recorded
        self.lost |= other.lost
        self.busy |= other.busy
        self.has_noted_answers |= other.has_noted_answers

    def _add(self, files: Iterable[FetchedFile | StoredFile], rows: Iterable[Row]) -> None:
        for row in rows:
            match row["outcome"]:
                case "RECORDED":
                    self.recorded.add(row["lease"])
                case "LOST":
                    self.lost.add(row["lease"])
                case "ANSWERED":
                    self.has_noted_answers = True
        self.busy = {file.lease for file in files} - self.recorded - self.lost


def record_fetched(
    database: Database,
    files: Sequence[FetchedFile],
    *,
    answered: Sequence[UUID] = (),
    waits: bool = False,
) -> Round:
    """Record that files were fetched and are in the spool.

    `answered`: tokens of the slots that this record frees, whatever the result for the files.

    Raises ServiceUnavailable if PostgreSQL is unavailable. With `waits`, the call waits for rows
    that other transactions hold and raises PostgreSQL's errors; RowsLocked if a row stays locked.
    """

    def call(some: Sequence[FetchedFile]) -> list[Row]:
        return database.call(
            sql.function("record_fetched"),
            **_claims([file.claim for file in some]),
            **_contents([file.content for file in some]),
            slot_tokens=list(answered),
            waits=waits,
        )

    done = Round()
    done._add(files, _recorded(call, files, waits=waits))
    return done


def record_stored(
    database: Database,
    files: Sequence[StoredFile],
    *,
    answered: Sequence[UUID] = (),
    waits: bool = False,
) -> Round:
    """Record that the bucket holds files. End the jobs with all of their files in it.

    `answered` and the errors are those of `record_fetched`.
    """

    def call(some: Sequence[StoredFile]) -> list[Row]:
        return database.call(
            sql.function("record_stored"),
            **_claims([file.file for file in some]),
            **_contents([file.file for file in some]),
            slot_tokens=list(answered),
            object_keys=[file.key for file in some],
            take_times=[file.file.take_time for file in some],
            waits=waits,
        )

    done = Round()
    rows = _recorded(call, files, waits=waits)
    done._add(files, rows)
    if done.recorded:
        number = len(done.recorded)
        database.counted(DOCUMENTS_ENDED, DocumentState.AVAILABLE, "", by=number)
    for row in rows:
        if row["outcome"] == "JOB_ENDED":
            database.counted(JOBS_ENDED, row["end_state"])
            done.ended[row["job_id"]] = row["due_webhooks"]
    return done


F = TypeVar("F", FetchedFile, StoredFile)


def _recorded(
    call: Callable[[Sequence[F]], list[Row]], files: Sequence[F], *, waits: bool
) -> list[Row]:
    """Return the rows of one call, or of one for each file if that raises."""
    if not files:
        return []
    try:
        return call(files)
    except RowsLocked:
        if waits:
            raise
    except ServiceUnavailable:
        raise
    except Exception:
        if waits:
            raise
        log.exception("files not recorded", files=len(files))
    rows: list[Row] = []
    if len(files) > 1:
        for file in files:
            # Return what is already recorded, even if PostgreSQL becomes unavailable between two
            # files.
            try:
                rows += _recorded(call, [file], waits=False)
            except ServiceUnavailable:
                break
    return rows


def _claims(held: Sequence[DocumentClaim | CheckedFile]) -> Mapping[str, list[UUID]]:
    return {
        "job_ids": [each.job_id for each in held],
        "document_ids": [each.document_id for each in held],
        "leases": [each.lease for each in held],
    }


def _contents(contents: Sequence[CheckedContent | CheckedFile]) -> Mapping[str, list[Any]]:
    return {
        "sizes_bytes": [content.size_bytes for content in contents],
        "sha256s": [content.sha256 for content in contents],
        "content_types": [content.content_type for content in contents],
        "extensions": [content.extension for content in contents],
    }
