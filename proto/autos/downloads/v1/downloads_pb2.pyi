from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    JOB_STATE_PENDING: _ClassVar[JobState]
    JOB_STATE_PROCESSING: _ClassVar[JobState]
    JOB_STATE_COMPLETED: _ClassVar[JobState]
    JOB_STATE_PARTIALLY_COMPLETED: _ClassVar[JobState]
    JOB_STATE_FAILED: _ClassVar[JobState]
    JOB_STATE_CANCELLED: _ClassVar[JobState]

class DocumentState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DOCUMENT_STATE_UNSPECIFIED: _ClassVar[DocumentState]
    DOCUMENT_STATE_PENDING: _ClassVar[DocumentState]
    DOCUMENT_STATE_DOWNLOADING: _ClassVar[DocumentState]
    DOCUMENT_STATE_DOWNLOADED: _ClassVar[DocumentState]
    DOCUMENT_STATE_AVAILABLE: _ClassVar[DocumentState]
    DOCUMENT_STATE_FAILED: _ClassVar[DocumentState]
    DOCUMENT_STATE_CANCELLED: _ClassVar[DocumentState]
    DOCUMENT_STATE_SKIPPED: _ClassVar[DocumentState]

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIORITY_UNSPECIFIED: _ClassVar[Priority]
    PRIORITY_HIGH: _ClassVar[Priority]
    PRIORITY_NORMAL: _ClassVar[Priority]
    PRIORITY_BULK: _ClassVar[Priority]

class WebhookState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WEBHOOK_STATE_UNSPECIFIED: _ClassVar[WebhookState]
    WEBHOOK_STATE_WAITING: _ClassVar[WebhookState]
    WEBHOOK_STATE_PENDING: _ClassVar[WebhookState]
    WEBHOOK_STATE_DELIVERED: _ClassVar[WebhookState]
    WEBHOOK_STATE_FAILED: _ClassVar[WebhookState]

class FailureReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FAILURE_REASON_UNSPECIFIED: _ClassVar[FailureReason]
    FAILURE_REASON_NO_ACCESS: _ClassVar[FailureReason]
    FAILURE_REASON_NOT_FOUND: _ClassVar[FailureReason]
    FAILURE_REASON_UNTRUSTED_LINK: _ClassVar[FailureReason]
    FAILURE_REASON_NO_LINK: _ClassVar[FailureReason]
    FAILURE_REASON_TOO_LARGE: _ClassVar[FailureReason]
    FAILURE_REASON_CREDENTIALS_REJECTED: _ClassVar[FailureReason]
    FAILURE_REASON_PORTAL_ERROR: _ClassVar[FailureReason]
    FAILURE_REASON_PORTAL_UNAVAILABLE: _ClassVar[FailureReason]
    FAILURE_REASON_NOT_A_DOCUMENT: _ClassVar[FailureReason]
    FAILURE_REASON_CORRUPT: _ClassVar[FailureReason]
    FAILURE_REASON_WORKER_LOST: _ClassVar[FailureReason]
    FAILURE_REASON_TIMEOUT: _ClassVar[FailureReason]
    FAILURE_REASON_NO_DOCUMENT_AVAILABLE: _ClassVar[FailureReason]
    FAILURE_REASON_SEALED: _ClassVar[FailureReason]

class HoldReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HOLD_REASON_UNSPECIFIED: _ClassVar[HoldReason]
    HOLD_REASON_PORTAL_PAUSED: _ClassVar[HoldReason]
    HOLD_REASON_COURT_AWAY: _ClassVar[HoldReason]
    HOLD_REASON_CREDENTIALS_REFUSED: _ClassVar[HoldReason]
    HOLD_REASON_CASE_BUDGET: _ClassVar[HoldReason]
    HOLD_REASON_NOT_BEFORE: _ClassVar[HoldReason]
    HOLD_REASON_STORE_REFUSED: _ClassVar[HoldReason]
    HOLD_REASON_PORTAL_UNTRUSTED: _ClassVar[HoldReason]

class RefusalReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REFUSAL_REASON_UNSPECIFIED: _ClassVar[RefusalReason]
    REFUSAL_REASON_INVALID_REQUEST: _ClassVar[RefusalReason]
    REFUSAL_REASON_MALFORMED_REQUEST: _ClassVar[RefusalReason]
    REFUSAL_REASON_REQUEST_ID_REUSED: _ClassVar[RefusalReason]
    REFUSAL_REASON_NO_TOKEN: _ClassVar[RefusalReason]
    REFUSAL_REASON_UNKNOWN_TOKEN: _ClassVar[RefusalReason]
    REFUSAL_REASON_JOB_NOT_FOUND: _ClassVar[RefusalReason]
    REFUSAL_REASON_DOCUMENT_NOT_FOUND: _ClassVar[RefusalReason]
    REFUSAL_REASON_BATCH_NOT_FOUND: _ClassVar[RefusalReason]
    REFUSAL_REASON_CASE_NOT_FOUND: _ClassVar[RefusalReason]
    REFUSAL_REASON_SUBSCRIPTION_NOT_FOUND: _ClassVar[RefusalReason]
    REFUSAL_REASON_ERASURE_NOT_FOUND: _ClassVar[RefusalReason]
    REFUSAL_REASON_DOCUMENT_NOT_AVAILABLE: _ClassVar[RefusalReason]
    REFUSAL_REASON_DOCUMENT_ALTERED: _ClassVar[RefusalReason]
    REFUSAL_REASON_JOB_NOT_ENDED: _ClassVar[RefusalReason]
    REFUSAL_REASON_NOTHING_TO_RETRY: _ClassVar[RefusalReason]
    REFUSAL_REASON_CASE_ACTIVE: _ClassVar[RefusalReason]
    REFUSAL_REASON_CASE_HELD: _ClassVar[RefusalReason]
    REFUSAL_REASON_NO_WEBHOOK: _ClassVar[RefusalReason]
    REFUSAL_REASON_MANIFEST_NOT_READY: _ClassVar[RefusalReason]
    REFUSAL_REASON_CUSTODY_OFF: _ClassVar[RefusalReason]
    REFUSAL_REASON_NOT_AN_OPERATOR: _ClassVar[RefusalReason]
    REFUSAL_REASON_TOO_MANY_STARTS: _ClassVar[RefusalReason]
    REFUSAL_REASON_TOO_MANY_JOBS: _ClassVar[RefusalReason]
    REFUSAL_REASON_TOO_MANY_WATCHES: _ClassVar[RefusalReason]
    REFUSAL_REASON_TOO_MANY_SUBSCRIPTIONS: _ClassVar[RefusalReason]
    REFUSAL_REASON_EVENTS_GONE: _ClassVar[RefusalReason]
    REFUSAL_REASON_UNAVAILABLE: _ClassVar[RefusalReason]
    REFUSAL_REASON_INTERNAL: _ClassVar[RefusalReason]
    REFUSAL_REASON_CASE_NOT_ALLOWED: _ClassVar[RefusalReason]
    REFUSAL_REASON_TOO_MANY_CALLS: _ClassVar[RefusalReason]
    REFUSAL_REASON_TOO_MANY_WEBHOOKS: _ClassVar[RefusalReason]
JOB_STATE_UNSPECIFIED: JobState
JOB_STATE_PENDING: JobState
JOB_STATE_PROCESSING: JobState
JOB_STATE_COMPLETED: JobState
JOB_STATE_PARTIALLY_COMPLETED: JobState
JOB_STATE_FAILED: JobState
JOB_STATE_CANCELLED: JobState
DOCUMENT_STATE_UNSPECIFIED: DocumentState
DOCUMENT_STATE_PENDING: DocumentState
DOCUMENT_STATE_DOWNLOADING: DocumentState
DOCUMENT_STATE_DOWNLOADED: DocumentState
DOCUMENT_STATE_AVAILABLE: DocumentState
DOCUMENT_STATE_FAILED: DocumentState
DOCUMENT_STATE_CANCELLED: DocumentState
DOCUMENT_STATE_SKIPPED: DocumentState
PRIORITY_UNSPECIFIED: Priority
PRIORITY_HIGH: Priority
PRIORITY_NORMAL: Priority
PRIORITY_BULK: Priority
WEBHOOK_STATE_UNSPECIFIED: WebhookState
WEBHOOK_STATE_WAITING: WebhookState
WEBHOOK_STATE_PENDING: WebhookState
WEBHOOK_STATE_DELIVERED: WebhookState
WEBHOOK_STATE_FAILED: WebhookState
FAILURE_REASON_UNSPECIFIED: FailureReason
FAILURE_REASON_NO_ACCESS: FailureReason
FAILURE_REASON_NOT_FOUND: FailureReason
FAILURE_REASON_UNTRUSTED_LINK: FailureReason
FAILURE_REASON_NO_LINK: FailureReason
FAILURE_REASON_TOO_LARGE: FailureReason
FAILURE_REASON_CREDENTIALS_REJECTED: FailureReason
FAILURE_REASON_PORTAL_ERROR: FailureReason
FAILURE_REASON_PORTAL_UNAVAILABLE: FailureReason
FAILURE_REASON_NOT_A_DOCUMENT: FailureReason
FAILURE_REASON_CORRUPT: FailureReason
FAILURE_REASON_WORKER_LOST: FailureReason
FAILURE_REASON_TIMEOUT: FailureReason
FAILURE_REASON_NO_DOCUMENT_AVAILABLE: FailureReason
FAILURE_REASON_SEALED: FailureReason
HOLD_REASON_UNSPECIFIED: HoldReason
HOLD_REASON_PORTAL_PAUSED: HoldReason
HOLD_REASON_COURT_AWAY: HoldReason
HOLD_REASON_CREDENTIALS_REFUSED: HoldReason
HOLD_REASON_CASE_BUDGET: HoldReason
HOLD_REASON_NOT_BEFORE: HoldReason
HOLD_REASON_STORE_REFUSED: HoldReason
HOLD_REASON_PORTAL_UNTRUSTED: HoldReason
REFUSAL_REASON_UNSPECIFIED: RefusalReason
REFUSAL_REASON_INVALID_REQUEST: RefusalReason
REFUSAL_REASON_MALFORMED_REQUEST: RefusalReason
REFUSAL_REASON_REQUEST_ID_REUSED: RefusalReason
REFUSAL_REASON_NO_TOKEN: RefusalReason
REFUSAL_REASON_UNKNOWN_TOKEN: RefusalReason
REFUSAL_REASON_JOB_NOT_FOUND: RefusalReason
REFUSAL_REASON_DOCUMENT_NOT_FOUND: RefusalReason
REFUSAL_REASON_BATCH_NOT_FOUND: RefusalReason
REFUSAL_REASON_CASE_NOT_FOUND: RefusalReason
REFUSAL_REASON_SUBSCRIPTION_NOT_FOUND: RefusalReason
REFUSAL_REASON_ERASURE_NOT_FOUND: RefusalReason
REFUSAL_REASON_DOCUMENT_NOT_AVAILABLE: RefusalReason
REFUSAL_REASON_DOCUMENT_ALTERED: RefusalReason
REFUSAL_REASON_JOB_NOT_ENDED: RefusalReason
REFUSAL_REASON_NOTHING_TO_RETRY: RefusalReason
REFUSAL_REASON_CASE_ACTIVE: RefusalReason
REFUSAL_REASON_CASE_HELD: RefusalReason
REFUSAL_REASON_NO_WEBHOOK: RefusalReason
REFUSAL_REASON_MANIFEST_NOT_READY: RefusalReason
REFUSAL_REASON_CUSTODY_OFF: RefusalReason
REFUSAL_REASON_NOT_AN_OPERATOR: RefusalReason
REFUSAL_REASON_TOO_MANY_STARTS: RefusalReason
REFUSAL_REASON_TOO_MANY_JOBS: RefusalReason
REFUSAL_REASON_TOO_MANY_WATCHES: RefusalReason
REFUSAL_REASON_TOO_MANY_SUBSCRIPTIONS: RefusalReason
REFUSAL_REASON_EVENTS_GONE: RefusalReason
REFUSAL_REASON_UNAVAILABLE: RefusalReason
REFUSAL_REASON_INTERNAL: RefusalReason
REFUSAL_REASON_CASE_NOT_ALLOWED: RefusalReason
REFUSAL_REASON_TOO_MANY_CALLS: RefusalReason
REFUSAL_REASON_TOO_MANY_WEBHOOKS: RefusalReason

class StartDownloadRequest(_message.Message):
    __slots__ = ("process_number", "webhook_url", "request_id", "max_age", "priority", "selection", "list_only", "labels", "not_before_time", "retention")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROCESS_NUMBER_FIELD_NUMBER: _ClassVar[int]
    WEBHOOK_URL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MAX_AGE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    LIST_ONLY_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_TIME_FIELD_NUMBER: _ClassVar[int]
    RETENTION_FIELD_NUMBER: _ClassVar[int]
    process_number: str
    webhook_url: str
    request_id: str
    max_age: _duration_pb2.Duration
    priority: Priority
    selection: Selection
    list_only: bool
    labels: _containers.ScalarMap[str, str]
    not_before_time: _timestamp_pb2.Timestamp
    retention: _duration_pb2.Duration
    def __init__(self, process_number: _Optional[str] = ..., webhook_url: _Optional[str] = ..., request_id: _Optional[str] = ..., max_age: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., priority: _Optional[_Union[Priority, str]] = ..., selection: _Optional[_Union[Selection, _Mapping]] = ..., list_only: bool = ..., labels: _Optional[_Mapping[str, str]] = ..., not_before_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., retention: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Selection(_message.Message):
    __slots__ = ("document_ids", "kinds", "instances", "filed_from_date", "filed_to_date", "max_size_bytes", "exclude_sealed")
    DOCUMENT_IDS_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    FILED_FROM_DATE_FIELD_NUMBER: _ClassVar[int]
    FILED_TO_DATE_FIELD_NUMBER: _ClassVar[int]
    MAX_SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    EXCLUDE_SEALED_FIELD_NUMBER: _ClassVar[int]
    document_ids: _containers.RepeatedScalarFieldContainer[str]
    kinds: _containers.RepeatedScalarFieldContainer[str]
    instances: _containers.RepeatedScalarFieldContainer[str]
    filed_from_date: str
    filed_to_date: str
    max_size_bytes: int
    exclude_sealed: bool
    def __init__(self, document_ids: _Optional[_Iterable[str]] = ..., kinds: _Optional[_Iterable[str]] = ..., instances: _Optional[_Iterable[str]] = ..., filed_from_date: _Optional[str] = ..., filed_to_date: _Optional[str] = ..., max_size_bytes: _Optional[int] = ..., exclude_sealed: bool = ...) -> None: ...

class StartDownloadResponse(_message.Message):
    __slots__ = ("job", "created")
    JOB_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    job: Job
    created: bool
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ..., created: bool = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ("job_id", "process_number")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    PROCESS_NUMBER_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    process_number: str
    def __init__(self, job_id: _Optional[str] = ..., process_number: _Optional[str] = ...) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class WatchProgressRequest(_message.Message):
    __slots__ = ("job_id", "process_number", "after_revision", "heartbeat_interval")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    PROCESS_NUMBER_FIELD_NUMBER: _ClassVar[int]
    AFTER_REVISION_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    process_number: str
    after_revision: int
    heartbeat_interval: _duration_pb2.Duration
    def __init__(self, job_id: _Optional[str] = ..., process_number: _Optional[str] = ..., after_revision: _Optional[int] = ..., heartbeat_interval: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class WatchProgressResponse(_message.Message):
    __slots__ = ("revision", "event_time", "job", "document", "heartbeat")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    revision: int
    event_time: _timestamp_pb2.Timestamp
    job: Job
    document: Document
    heartbeat: Heartbeat
    def __init__(self, revision: _Optional[int] = ..., event_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., job: _Optional[_Union[Job, _Mapping]] = ..., document: _Optional[_Union[Document, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Job(_message.Message):
    __slots__ = ("job_id", "process_number", "state", "revision", "progress", "error", "webhooks", "create_time", "start_time", "update_time", "end_time", "expire_time", "secrecy_level", "priority", "queue_position", "estimated_end_time", "hold", "vanished_documents", "vanished_document_ids", "selections", "list_only", "labels", "batch_id", "not_before_time", "sealed", "unlisted_document_ids")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    PROCESS_NUMBER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    WEBHOOKS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    SECRECY_LEVEL_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    QUEUE_POSITION_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_END_TIME_FIELD_NUMBER: _ClassVar[int]
    HOLD_FIELD_NUMBER: _ClassVar[int]
    VANISHED_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    VANISHED_DOCUMENT_IDS_FIELD_NUMBER: _ClassVar[int]
    SELECTIONS_FIELD_NUMBER: _ClassVar[int]
    LIST_ONLY_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_TIME_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    UNLISTED_DOCUMENT_IDS_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    process_number: str
    state: JobState
    revision: int
    progress: Progress
    error: Error
    webhooks: _containers.RepeatedCompositeFieldContainer[Webhook]
    create_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    secrecy_level: int
    priority: Priority
    queue_position: int
    estimated_end_time: _timestamp_pb2.Timestamp
    hold: Hold
    vanished_documents: int
    vanished_document_ids: _containers.RepeatedScalarFieldContainer[str]
    selections: _containers.RepeatedCompositeFieldContainer[Selection]
    list_only: bool
    labels: _containers.ScalarMap[str, str]
    batch_id: str
    not_before_time: _timestamp_pb2.Timestamp
    sealed: bool
    unlisted_document_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, job_id: _Optional[str] = ..., process_number: _Optional[str] = ..., state: _Optional[_Union[JobState, str]] = ..., revision: _Optional[int] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ..., webhooks: _Optional[_Iterable[_Union[Webhook, _Mapping]]] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., secrecy_level: _Optional[int] = ..., priority: _Optional[_Union[Priority, str]] = ..., queue_position: _Optional[int] = ..., estimated_end_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., hold: _Optional[_Union[Hold, _Mapping]] = ..., vanished_documents: _Optional[int] = ..., vanished_document_ids: _Optional[_Iterable[str]] = ..., selections: _Optional[_Iterable[_Union[Selection, _Mapping]]] = ..., list_only: bool = ..., labels: _Optional[_Mapping[str, str]] = ..., batch_id: _Optional[str] = ..., not_before_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., sealed: bool = ..., unlisted_document_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class Hold(_message.Message):
    __slots__ = ("reason", "message", "until_time")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_TIME_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    until_time: _timestamp_pb2.Timestamp
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ..., until_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("total_documents", "completed_documents", "failed_documents", "pending_documents", "stored_bytes", "percent", "cancelled_documents", "reused_documents", "skipped_documents")
    TOTAL_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    FAILED_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    PENDING_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    STORED_BYTES_FIELD_NUMBER: _ClassVar[int]
    PERCENT_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    REUSED_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    total_documents: int
    completed_documents: int
    failed_documents: int
    pending_documents: int
    stored_bytes: int
    percent: float
    cancelled_documents: int
    reused_documents: int
    skipped_documents: int
    def __init__(self, total_documents: _Optional[int] = ..., completed_documents: _Optional[int] = ..., failed_documents: _Optional[int] = ..., pending_documents: _Optional[int] = ..., stored_bytes: _Optional[int] = ..., percent: _Optional[float] = ..., cancelled_documents: _Optional[int] = ..., reused_documents: _Optional[int] = ..., skipped_documents: _Optional[int] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("reason", "message", "retryable", "violations", "retry_delay")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    VIOLATIONS_FIELD_NUMBER: _ClassVar[int]
    RETRY_DELAY_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    retryable: bool
    violations: _containers.RepeatedCompositeFieldContainer[FieldViolation]
    retry_delay: _duration_pb2.Duration
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ..., retryable: bool = ..., violations: _Optional[_Iterable[_Union[FieldViolation, _Mapping]]] = ..., retry_delay: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class FieldViolation(_message.Message):
    __slots__ = ("field", "description")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    field: str
    description: str
    def __init__(self, field: _Optional[str] = ..., description: _Optional[str] = ...) -> None: ...

class Webhook(_message.Message):
    __slots__ = ("url", "state", "attempt_count", "last_status_code", "last_error", "delivered_time", "next_attempt_time", "webhook_id", "attempts")
    URL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_COUNT_FIELD_NUMBER: _ClassVar[int]
    LAST_STATUS_CODE_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_TIME_FIELD_NUMBER: _ClassVar[int]
    NEXT_ATTEMPT_TIME_FIELD_NUMBER: _ClassVar[int]
    WEBHOOK_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    url: str
    state: WebhookState
    attempt_count: int
    last_status_code: int
    last_error: str
    delivered_time: _timestamp_pb2.Timestamp
    next_attempt_time: _timestamp_pb2.Timestamp
    webhook_id: str
    attempts: _containers.RepeatedCompositeFieldContainer[WebhookAttempt]
    def __init__(self, url: _Optional[str] = ..., state: _Optional[_Union[WebhookState, str]] = ..., attempt_count: _Optional[int] = ..., last_status_code: _Optional[int] = ..., last_error: _Optional[str] = ..., delivered_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., next_attempt_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., webhook_id: _Optional[str] = ..., attempts: _Optional[_Iterable[_Union[WebhookAttempt, _Mapping]]] = ...) -> None: ...

class WebhookAttempt(_message.Message):
    __slots__ = ("number", "attempt_time", "status_code", "error")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_TIME_FIELD_NUMBER: _ClassVar[int]
    STATUS_CODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    number: int
    attempt_time: _timestamp_pb2.Timestamp
    status_code: int
    error: str
    def __init__(self, number: _Optional[int] = ..., attempt_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., status_code: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...

class Document(_message.Message):
    __slots__ = ("document_id", "name", "kind", "sequence", "instance", "filed_local_time", "secrecy_level", "state", "content_type", "size_bytes", "sha256", "object_key", "attempt_count", "error", "revision", "url", "url_expire_time", "sealed", "unverified")
    DOCUMENT_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    FILED_LOCAL_TIME_FIELD_NUMBER: _ClassVar[int]
    SECRECY_LEVEL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    OBJECT_KEY_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_COUNT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    URL_EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    UNVERIFIED_FIELD_NUMBER: _ClassVar[int]
    document_id: str
    name: str
    kind: str
    sequence: int
    instance: str
    filed_local_time: str
    secrecy_level: str
    state: DocumentState
    content_type: str
    size_bytes: int
    sha256: str
    object_key: str
    attempt_count: int
    error: Error
    revision: int
    url: str
    url_expire_time: _timestamp_pb2.Timestamp
    sealed: bool
    unverified: bool
    def __init__(self, document_id: _Optional[str] = ..., name: _Optional[str] = ..., kind: _Optional[str] = ..., sequence: _Optional[int] = ..., instance: _Optional[str] = ..., filed_local_time: _Optional[str] = ..., secrecy_level: _Optional[str] = ..., state: _Optional[_Union[DocumentState, str]] = ..., content_type: _Optional[str] = ..., size_bytes: _Optional[int] = ..., sha256: _Optional[str] = ..., object_key: _Optional[str] = ..., attempt_count: _Optional[int] = ..., error: _Optional[_Union[Error, _Mapping]] = ..., revision: _Optional[int] = ..., url: _Optional[str] = ..., url_expire_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., sealed: bool = ..., unverified: bool = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "process_number", "states", "labels", "batch_id", "create_time_from", "create_time_to")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PROCESS_NUMBER_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FROM_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_TO_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    process_number: str
    states: _containers.RepeatedScalarFieldContainer[JobState]
    labels: _containers.ScalarMap[str, str]
    batch_id: str
    create_time_from: _timestamp_pb2.Timestamp
    create_time_to: _timestamp_pb2.Timestamp
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., process_number: _Optional[str] = ..., states: _Optional[_Iterable[_Union[JobState, str]]] = ..., labels: _Optional[_Mapping[str, str]] = ..., batch_id: _Optional[str] = ..., create_time_from: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., create_time_to: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListJobsResponse(_message.Message):
    __slots__ = ("jobs", "next_page_token")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    next_page_token: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListDocumentsRequest(_message.Message):
    __slots__ = ("job_id", "page_size", "page_token", "states")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    page_size: int
    page_token: str
    states: _containers.RepeatedScalarFieldContainer[DocumentState]
    def __init__(self, job_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., states: _Optional[_Iterable[_Union[DocumentState, str]]] = ...) -> None: ...

class ListDocumentsResponse(_message.Message):
    __slots__ = ("documents", "next_page_token")
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    documents: _containers.RepeatedCompositeFieldContainer[Document]
    next_page_token: str
    def __init__(self, documents: _Optional[_Iterable[_Union[Document, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CancelJobRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class CancelJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class RetryJobRequest(_message.Message):
    __slots__ = ("job_id", "request_id")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    request_id: str
    def __init__(self, job_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class RetryJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class GetDocumentUrlRequest(_message.Message):
    __slots__ = ("job_id", "document_id", "lifetime")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_ID_FIELD_NUMBER: _ClassVar[int]
    LIFETIME_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    document_id: str
    lifetime: _duration_pb2.Duration
    def __init__(self, job_id: _Optional[str] = ..., document_id: _Optional[str] = ..., lifetime: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GetDocumentUrlResponse(_message.Message):
    __slots__ = ("url", "expire_time")
    URL_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    url: str
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, url: _Optional[str] = ..., expire_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class RedeliverWebhookRequest(_message.Message):
    __slots__ = ("job_id", "request_id")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    request_id: str
    def __init__(self, job_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class RedeliverWebhookResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class StartDownloadsRequest(_message.Message):
    __slots__ = ("requests", "request_id")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[StartDownloadRequest]
    request_id: str
    def __init__(self, requests: _Optional[_Iterable[_Union[StartDownloadRequest, _Mapping]]] = ..., request_id: _Optional[str] = ...) -> None: ...

class StartDownloadsResponse(_message.Message):
    __slots__ = ("batch_id", "results")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    results: _containers.RepeatedCompositeFieldContainer[StartDownloadResult]
    def __init__(self, batch_id: _Optional[str] = ..., results: _Optional[_Iterable[_Union[StartDownloadResult, _Mapping]]] = ...) -> None: ...

class StartDownloadResult(_message.Message):
    __slots__ = ("response", "error")
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    response: StartDownloadResponse
    error: Error
    def __init__(self, response: _Optional[_Union[StartDownloadResponse, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class GetBatchRequest(_message.Message):
    __slots__ = ("batch_id",)
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    def __init__(self, batch_id: _Optional[str] = ...) -> None: ...

class GetBatchResponse(_message.Message):
    __slots__ = ("batch",)
    BATCH_FIELD_NUMBER: _ClassVar[int]
    batch: Batch
    def __init__(self, batch: _Optional[_Union[Batch, _Mapping]] = ...) -> None: ...

class Batch(_message.Message):
    __slots__ = ("batch_id", "create_time", "refused", "jobs", "progress")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    batch_id: str
    create_time: _timestamp_pb2.Timestamp
    refused: int
    jobs: _containers.RepeatedCompositeFieldContainer[JobStateCount]
    progress: Progress
    def __init__(self, batch_id: _Optional[str] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., refused: _Optional[int] = ..., jobs: _Optional[_Iterable[_Union[JobStateCount, _Mapping]]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ...) -> None: ...

class JobStateCount(_message.Message):
    __slots__ = ("state", "count")
    STATE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    state: JobState
    count: int
    def __init__(self, state: _Optional[_Union[JobState, str]] = ..., count: _Optional[int] = ...) -> None: ...

class WaitJobRequest(_message.Message):
    __slots__ = ("job_id", "process_number", "timeout")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    PROCESS_NUMBER_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    process_number: str
    timeout: _duration_pb2.Duration
    def __init__(self, job_id: _Optional[str] = ..., process_number: _Optional[str] = ..., timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class WaitJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class GetDocumentRequest(_message.Message):
    __slots__ = ("job_id", "document_id")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    document_id: str
    def __init__(self, job_id: _Optional[str] = ..., document_id: _Optional[str] = ...) -> None: ...

class GetDocumentResponse(_message.Message):
    __slots__ = ("document",)
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    document: Document
    def __init__(self, document: _Optional[_Union[Document, _Mapping]] = ...) -> None: ...

class GetCaseRequest(_message.Message):
    __slots__ = ("process_number",)
    PROCESS_NUMBER_FIELD_NUMBER: _ClassVar[int]
    process_number: str
    def __init__(self, process_number: _Optional[str] = ...) -> None: ...

class GetCaseResponse(_message.Message):
    __slots__ = ("case",)
    CASE_FIELD_NUMBER: _ClassVar[int]
    case: Case
    def __init__(self, case: _Optional[_Union[Case, _Mapping]] = ...) -> None: ...

class Case(_message.Message):
    __slots__ = ("process_number", "court", "secrecy_level", "sealed", "proceedings", "listed_time", "listing_sha256")
    PROCESS_NUMBER_FIELD_NUMBER: _ClassVar[int]
    COURT_FIELD_NUMBER: _ClassVar[int]
    SECRECY_LEVEL_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    PROCEEDINGS_FIELD_NUMBER: _ClassVar[int]
    LISTED_TIME_FIELD_NUMBER: _ClassVar[int]
    LISTING_SHA256_FIELD_NUMBER: _ClassVar[int]
    process_number: str
    court: str
    secrecy_level: int
    sealed: bool
    proceedings: _containers.RepeatedCompositeFieldContainer[Proceeding]
    listed_time: _timestamp_pb2.Timestamp
    listing_sha256: str
    def __init__(self, process_number: _Optional[str] = ..., court: _Optional[str] = ..., secrecy_level: _Optional[int] = ..., sealed: bool = ..., proceedings: _Optional[_Iterable[_Union[Proceeding, _Mapping]]] = ..., listed_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., listing_sha256: _Optional[str] = ...) -> None: ...

class GetCaseListingRequest(_message.Message):
    __slots__ = ("process_number",)
    PROCESS_NUMBER_FIELD_NUMBER: _ClassVar[int]
    process_number: str
    def __init__(self, process_number: _Optional[str] = ...) -> None: ...

class GetCaseListingResponse(_message.Message):
    __slots__ = ("chunk",)
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    chunk: bytes
    def __init__(self, chunk: _Optional[bytes] = ...) -> None: ...

class Proceeding(_message.Message):
    __slots__ = ("instance", "case_class", "subjects", "value", "unit", "filed_local_time", "parties", "movements")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    CASE_CLASS_FIELD_NUMBER: _ClassVar[int]
    SUBJECTS_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    FILED_LOCAL_TIME_FIELD_NUMBER: _ClassVar[int]
    PARTIES_FIELD_NUMBER: _ClassVar[int]
    MOVEMENTS_FIELD_NUMBER: _ClassVar[int]
    instance: str
    case_class: Term
    subjects: _containers.RepeatedCompositeFieldContainer[Term]
    value: str
    unit: str
    filed_local_time: str
    parties: _containers.RepeatedCompositeFieldContainer[Party]
    movements: _containers.RepeatedCompositeFieldContainer[Movement]
    def __init__(self, instance: _Optional[str] = ..., case_class: _Optional[_Union[Term, _Mapping]] = ..., subjects: _Optional[_Iterable[_Union[Term, _Mapping]]] = ..., value: _Optional[str] = ..., unit: _Optional[str] = ..., filed_local_time: _Optional[str] = ..., parties: _Optional[_Iterable[_Union[Party, _Mapping]]] = ..., movements: _Optional[_Iterable[_Union[Movement, _Mapping]]] = ...) -> None: ...

class Term(_message.Message):
    __slots__ = ("code", "name")
    CODE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    code: int
    name: str
    def __init__(self, code: _Optional[int] = ..., name: _Optional[str] = ...) -> None: ...

class Party(_message.Message):
    __slots__ = ("side", "name", "kind", "representatives")
    SIDE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    REPRESENTATIVES_FIELD_NUMBER: _ClassVar[int]
    side: str
    name: str
    kind: str
    representatives: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, side: _Optional[str] = ..., name: _Optional[str] = ..., kind: _Optional[str] = ..., representatives: _Optional[_Iterable[str]] = ...) -> None: ...

class Movement(_message.Message):
    __slots__ = ("local_time", "description", "code")
    LOCAL_TIME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    local_time: str
    description: str
    code: int
    def __init__(self, local_time: _Optional[str] = ..., description: _Optional[str] = ..., code: _Optional[int] = ...) -> None: ...

class SubscribeCaseRequest(_message.Message):
    __slots__ = ("process_number", "interval", "webhook_url", "selection", "list_only", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROCESS_NUMBER_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    WEBHOOK_URL_FIELD_NUMBER: _ClassVar[int]
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    LIST_ONLY_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    process_number: str
    interval: _duration_pb2.Duration
    webhook_url: str
    selection: Selection
    list_only: bool
    labels: _containers.ScalarMap[str, str]
    def __init__(self, process_number: _Optional[str] = ..., interval: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., webhook_url: _Optional[str] = ..., selection: _Optional[_Union[Selection, _Mapping]] = ..., list_only: bool = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class SubscribeCaseResponse(_message.Message):
    __slots__ = ("subscription",)
    SUBSCRIPTION_FIELD_NUMBER: _ClassVar[int]
    subscription: Subscription
    def __init__(self, subscription: _Optional[_Union[Subscription, _Mapping]] = ...) -> None: ...

class Subscription(_message.Message):
    __slots__ = ("process_number", "interval", "webhook_url", "selection", "list_only", "labels", "create_time", "next_time", "last_job_id", "last_change_time")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROCESS_NUMBER_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    WEBHOOK_URL_FIELD_NUMBER: _ClassVar[int]
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    LIST_ONLY_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    NEXT_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_JOB_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_CHANGE_TIME_FIELD_NUMBER: _ClassVar[int]
    process_number: str
    interval: _duration_pb2.Duration
    webhook_url: str
    selection: Selection
    list_only: bool
    labels: _containers.ScalarMap[str, str]
    create_time: _timestamp_pb2.Timestamp
    next_time: _timestamp_pb2.Timestamp
    last_job_id: str
    last_change_time: _timestamp_pb2.Timestamp
    def __init__(self, process_number: _Optional[str] = ..., interval: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., webhook_url: _Optional[str] = ..., selection: _Optional[_Union[Selection, _Mapping]] = ..., list_only: bool = ..., labels: _Optional[_Mapping[str, str]] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., next_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., last_job_id: _Optional[str] = ..., last_change_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class UnsubscribeCaseRequest(_message.Message):
    __slots__ = ("process_number",)
    PROCESS_NUMBER_FIELD_NUMBER: _ClassVar[int]
    process_number: str
    def __init__(self, process_number: _Optional[str] = ...) -> None: ...

class UnsubscribeCaseResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListSubscriptionsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListSubscriptionsResponse(_message.Message):
    __slots__ = ("subscriptions", "next_page_token")
    SUBSCRIPTIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    subscriptions: _containers.RepeatedCompositeFieldContainer[Subscription]
    next_page_token: str
    def __init__(self, subscriptions: _Optional[_Iterable[_Union[Subscription, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListEventsRequest(_message.Message):
    __slots__ = ("after_cursor", "page_size", "wait", "without_documents")
    AFTER_CURSOR_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    after_cursor: str
    page_size: int
    wait: _duration_pb2.Duration
    without_documents: bool
    def __init__(self, after_cursor: _Optional[str] = ..., page_size: _Optional[int] = ..., wait: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., without_documents: bool = ...) -> None: ...

class ListEventsResponse(_message.Message):
    __slots__ = ("events", "has_more")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    HAS_MORE_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    has_more: bool
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., has_more: bool = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("cursor", "webhook_id", "event")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    WEBHOOK_ID_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    webhook_id: str
    event: WebhookEvent
    def __init__(self, cursor: _Optional[str] = ..., webhook_id: _Optional[str] = ..., event: _Optional[_Union[WebhookEvent, _Mapping]] = ...) -> None: ...

class WebhookEvent(_message.Message):
    __slots__ = ("type", "timestamp", "data")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    type: str
    timestamp: _timestamp_pb2.Timestamp
    data: WebhookData
    def __init__(self, type: _Optional[str] = ..., timestamp: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., data: _Optional[_Union[WebhookData, _Mapping]] = ...) -> None: ...

class WebhookData(_message.Message):
    __slots__ = ("job", "documents", "documents_omitted", "change", "process_number")
    JOB_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_OMITTED_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    PROCESS_NUMBER_FIELD_NUMBER: _ClassVar[int]
    job: Job
    documents: _containers.RepeatedCompositeFieldContainer[Document]
    documents_omitted: bool
    change: CaseChange
    process_number: str
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ..., documents: _Optional[_Iterable[_Union[Document, _Mapping]]] = ..., documents_omitted: bool = ..., change: _Optional[_Union[CaseChange, _Mapping]] = ..., process_number: _Optional[str] = ...) -> None: ...

class CaseChange(_message.Message):
    __slots__ = ("new_document_ids", "vanished_document_ids", "changed_document_ids", "new_movements")
    NEW_DOCUMENT_IDS_FIELD_NUMBER: _ClassVar[int]
    VANISHED_DOCUMENT_IDS_FIELD_NUMBER: _ClassVar[int]
    CHANGED_DOCUMENT_IDS_FIELD_NUMBER: _ClassVar[int]
    NEW_MOVEMENTS_FIELD_NUMBER: _ClassVar[int]
    new_document_ids: _containers.RepeatedScalarFieldContainer[str]
    vanished_document_ids: _containers.RepeatedScalarFieldContainer[str]
    changed_document_ids: _containers.RepeatedScalarFieldContainer[str]
    new_movements: _containers.RepeatedCompositeFieldContainer[Movement]
    def __init__(self, new_document_ids: _Optional[_Iterable[str]] = ..., vanished_document_ids: _Optional[_Iterable[str]] = ..., changed_document_ids: _Optional[_Iterable[str]] = ..., new_movements: _Optional[_Iterable[_Union[Movement, _Mapping]]] = ...) -> None: ...

class SendTestWebhookRequest(_message.Message):
    __slots__ = ("webhook_url",)
    WEBHOOK_URL_FIELD_NUMBER: _ClassVar[int]
    webhook_url: str
    def __init__(self, webhook_url: _Optional[str] = ...) -> None: ...

class SendTestWebhookResponse(_message.Message):
    __slots__ = ("attempt",)
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    attempt: WebhookAttempt
    def __init__(self, attempt: _Optional[_Union[WebhookAttempt, _Mapping]] = ...) -> None: ...

class GetUsageRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetUsageResponse(_message.Message):
    __slots__ = ("client", "starts_per_minute_limit", "running_jobs", "running_jobs_limit", "subscriptions", "subscriptions_limit", "stored_bytes", "stored_documents", "case_budget", "open_calls", "open_calls_limit", "open_watches", "open_watches_limit", "repeats_per_minute_limit", "webhooks_per_job_limit", "waiting_jobs", "waiting_jobs_limit")
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    STARTS_PER_MINUTE_LIMIT_FIELD_NUMBER: _ClassVar[int]
    RUNNING_JOBS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_JOBS_LIMIT_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIPTIONS_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIPTIONS_LIMIT_FIELD_NUMBER: _ClassVar[int]
    STORED_BYTES_FIELD_NUMBER: _ClassVar[int]
    STORED_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    CASE_BUDGET_FIELD_NUMBER: _ClassVar[int]
    OPEN_CALLS_FIELD_NUMBER: _ClassVar[int]
    OPEN_CALLS_LIMIT_FIELD_NUMBER: _ClassVar[int]
    OPEN_WATCHES_FIELD_NUMBER: _ClassVar[int]
    OPEN_WATCHES_LIMIT_FIELD_NUMBER: _ClassVar[int]
    REPEATS_PER_MINUTE_LIMIT_FIELD_NUMBER: _ClassVar[int]
    WEBHOOKS_PER_JOB_LIMIT_FIELD_NUMBER: _ClassVar[int]
    WAITING_JOBS_FIELD_NUMBER: _ClassVar[int]
    WAITING_JOBS_LIMIT_FIELD_NUMBER: _ClassVar[int]
    client: str
    starts_per_minute_limit: int
    running_jobs: int
    running_jobs_limit: int
    subscriptions: int
    subscriptions_limit: int
    stored_bytes: int
    stored_documents: int
    case_budget: CaseBudget
    open_calls: int
    open_calls_limit: int
    open_watches: int
    open_watches_limit: int
    repeats_per_minute_limit: int
    webhooks_per_job_limit: int
    waiting_jobs: int
    waiting_jobs_limit: int
    def __init__(self, client: _Optional[str] = ..., starts_per_minute_limit: _Optional[int] = ..., running_jobs: _Optional[int] = ..., running_jobs_limit: _Optional[int] = ..., subscriptions: _Optional[int] = ..., subscriptions_limit: _Optional[int] = ..., stored_bytes: _Optional[int] = ..., stored_documents: _Optional[int] = ..., case_budget: _Optional[_Union[CaseBudget, _Mapping]] = ..., open_calls: _Optional[int] = ..., open_calls_limit: _Optional[int] = ..., open_watches: _Optional[int] = ..., open_watches_limit: _Optional[int] = ..., repeats_per_minute_limit: _Optional[int] = ..., webhooks_per_job_limit: _Optional[int] = ..., waiting_jobs: _Optional[int] = ..., waiting_jobs_limit: _Optional[int] = ...) -> None: ...

class CaseBudget(_message.Message):
    __slots__ = ("cases_last_day", "cases_per_day_limit", "cases_last_30_days", "cases_per_30_days_limit", "courts")
    CASES_LAST_DAY_FIELD_NUMBER: _ClassVar[int]
    CASES_PER_DAY_LIMIT_FIELD_NUMBER: _ClassVar[int]
    CASES_LAST_30_DAYS_FIELD_NUMBER: _ClassVar[int]
    CASES_PER_30_DAYS_LIMIT_FIELD_NUMBER: _ClassVar[int]
    COURTS_FIELD_NUMBER: _ClassVar[int]
    cases_last_day: int
    cases_per_day_limit: int
    cases_last_30_days: int
    cases_per_30_days_limit: int
    courts: _containers.RepeatedCompositeFieldContainer[CourtCaseBudget]
    def __init__(self, cases_last_day: _Optional[int] = ..., cases_per_day_limit: _Optional[int] = ..., cases_last_30_days: _Optional[int] = ..., cases_per_30_days_limit: _Optional[int] = ..., courts: _Optional[_Iterable[_Union[CourtCaseBudget, _Mapping]]] = ...) -> None: ...

class CourtCaseBudget(_message.Message):
    __slots__ = ("court", "cases_last_day", "cases_per_day_limit", "cases_last_30_days", "cases_per_30_days_limit")
    COURT_FIELD_NUMBER: _ClassVar[int]
    CASES_LAST_DAY_FIELD_NUMBER: _ClassVar[int]
    CASES_PER_DAY_LIMIT_FIELD_NUMBER: _ClassVar[int]
    CASES_LAST_30_DAYS_FIELD_NUMBER: _ClassVar[int]
    CASES_PER_30_DAYS_LIMIT_FIELD_NUMBER: _ClassVar[int]
    court: str
    cases_last_day: int
    cases_per_day_limit: int
    cases_last_30_days: int
    cases_per_30_days_limit: int
    def __init__(self, court: _Optional[str] = ..., cases_last_day: _Optional[int] = ..., cases_per_day_limit: _Optional[int] = ..., cases_last_30_days: _Optional[int] = ..., cases_per_30_days_limit: _Optional[int] = ...) -> None: ...
