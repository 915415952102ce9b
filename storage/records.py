"""Rows as frozen values for all code outside storage: no SQL, no ORM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from storage.errors import Failure
from storage.states import JOB_ENDS, DocumentState, JobState


class _FromRow:
    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Return the record of a row that has at least these columns."""
        return cls(**{name: row[name] for name in _names(cls)})

    @classmethod
    def of_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the record of a row that PostgreSQL converted into JSON."""
        # An event of an older release may lack a column of this one.
        parsed: dict[str, Any] = {**_defaults(cls), **values}
        for name in _names(cls):
            if parsed[name] is not None and name in _TIMES:
                parsed[name] = datetime.fromisoformat(parsed[name])
            elif name in {"job_id", "document_id", "batch_id"}:
                parsed[name] = parsed[name] and UUID(parsed[name])
            elif name in {"vanished_document_ids", "unlisted_document_ids"}:
                parsed[name] = [UUID(text) for text in parsed[name]]
        return cls.of(parsed)


_TIMES = {
    "create_time",
    "start_time",
    "update_time",
    "end_time",
    "expire_time",
    "not_before_time",
}
_NAMES: dict[type, tuple[str, ...]] = {}


def _names(cls: Any) -> tuple[str, ...]:
    if cls not in _NAMES:
        _NAMES[cls] = tuple(field.name for field in fields(cls))
    return _NAMES[cls]


def _defaults(cls: Any) -> dict[str, Any]:
    return {f.name: None if f.default is MISSING else f.default for f in fields(cls)}


class _WithFailure:
    error_reason: str | None
    error_message: str | None
    error_is_retryable: bool | None

    @property
    def failure(self) -> Failure | None:
        """Return the failure, or the failure of the last attempt."""
        return self._failure

    @property
    def _failure(self) -> Failure | None:
        if self.error_reason is None:
            return None
        return Failure(self.error_reason, self.error_message or "", bool(self.error_is_retryable))


@dataclass(frozen=True, slots=True)
class JobRecord(_FromRow, _WithFailure):
    """The current values of a job."""

    job_id: UUID
    client: str
    process_number: str
    state: str
    run: int
    revision: int
    total_documents: int | None
    completed_documents: int
    failed_documents: int
    cancelled_documents: int
    reused_documents: int
    stored_bytes: int
    secrecy_level: int | None
    error_reason: str | None
    error_message: str | None
    error_is_retryable: bool | None
    create_time: datetime
    start_time: datetime | None
    update_time: datetime
    end_time: datetime | None
    expire_time: datetime | None
    max_age_s: float
    priority: str = "NORMAL"
    vanished_documents: int = 0
    vanished_document_ids: Sequence[UUID] = ()
    skipped_documents: int = 0
    selections: Sequence[Mapping[str, Any]] | None = None
    unlisted_document_ids: Sequence[UUID] = ()
    labels: Mapping[str, str] | None = None
    not_before_time: datetime | None = None
    batch_id: UUID | None = None

    @property
    def is_ended(self) -> bool:
        """Return whether this run has ended."""
        return JobState(self.state) in JOB_ENDS


@dataclass(frozen=True, slots=True)
class DocumentRecord(_FromRow, _WithFailure):
    """The current values of a document of a job."""

    job_id: UUID
    document_id: UUID
    position: int
    name: str
    kind: str
    sequence: int
    instance: str
    filed_local_time: str
    secrecy_level: str
    state: str
    revision: int
    attempt_count: int
    content_type: str | None
    size_bytes: int | None
    sha256: str | None
    object_key: str | None
    error_reason: str | None
    error_message: str | None
    error_is_retryable: bool | None
    doubted_sha256: str | None = None

    @property
    def failure(self) -> Failure | None:
        """Return the failure, or the failure of the last attempt.

        A SKIPPED document has none, although its row keeps why its link is refused.
        """
        return None if self.state == DocumentState.SKIPPED else self._failure

    @property
    def is_unverified(self) -> bool:
        """Return whether only the portal's own answers confirm that this is the document."""
        return self.sha256 is not None and self.sha256 == self.doubted_sha256


@dataclass(frozen=True, slots=True)
class AttemptRecord(_FromRow):
    """One attempt to send a webhook; `status_code` is 0 if there was no answer."""

    number: int
    attempt_time: datetime
    status_code: int
    error: str


@dataclass(frozen=True, slots=True)
class WebhookRecord(_FromRow):
    """One webhook of a job. `url` may contain secrets: show it only through receivers.display."""

    job_id: UUID
    position: int
    url: str
    state: str
    webhook_id: str | None = None
    attempt_count: int = 0
    last_status_code: int = 0
    last_error: str = ""
    delivered_time: datetime | None = None
    next_attempt_time: datetime | None = None
    attempts: tuple[AttemptRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class JobView:
    """A job with its webhooks, for every answer about a job."""

    job: JobRecord
    webhooks: tuple[WebhookRecord, ...]


def is_sealed(case_level: int | None, document_level: str) -> bool:
    """Return whether a document is under seal. Unknown or missing counts as sealed."""
    return case_level != 0 or document_level != "PUBLICO"
