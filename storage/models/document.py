"""Documents of a job, the spools that hold their files, and the objects that sweeps deleted."""

from __future__ import annotations

from peewee import (
    BigIntegerField,
    BooleanField,
    CompositeKey,
    Default,
    IntegerField,
    TextField,
    UUIDField,
)
from playhouse.postgres_ext import ArrayField, DateTimeTZField

from storage.models.base import BaseModel, checks, one_of, reference, timestamp_now
from storage.models.job import Job
from storage.states import IN_LANE, DocumentState

_PENDING, _DOWNLOADING, _DOWNLOADED, _AVAILABLE = (
    DocumentState.PENDING,
    DocumentState.DOWNLOADING,
    DocumentState.DOWNLOADED,
    DocumentState.AVAILABLE,
)
_IN_LANE = sorted(IN_LANE, reverse=True)


class Document(BaseModel):
    """A document of a job. Its legal moves: storage/states.py."""

    job_id = reference(Job, on_delete="CASCADE")
    document_id = UUIDField()
    # The position in the case file.
    position = IntegerField()
    state = TextField()
    revision = BigIntegerField()

    name = TextField()
    kind = TextField()
    sequence = IntegerField()
    instance = TextField()
    filed_local_time = TextField()
    secrecy_level = TextField()
    # idOrigem: with it a listing serves another client, too. That client has another document_id.
    origin_id = TextField()
    hrefs = ArrayField(TextField, index=False)
    href_index = IntegerField(constraints=[Default(0)])
    listed_size_bytes = BigIntegerField(null=True)
    listed_content_type = TextField(null=True)

    attempt_count = IntegerField(constraints=[Default(0)])
    href_attempt_count = IntegerField(constraints=[Default(0)])
    pause_count = IntegerField(constraints=[Default(0)])
    lost_lease_count = IntegerField(constraints=[Default(0)])
    failing_since = DateTimeTZField(null=True)
    not_before = DateTimeTZField(null=True)
    lease = UUIDField(null=True)
    lease_until = DateTimeTZField(null=True)
    # The slice that requests the document. The same token holds the slice's slots.
    slice = UUIDField(null=True)
    # How many documents the claim of the slice took.
    slice_size = IntegerField(null=True)
    spool_id = UUIDField(null=True)

    content_type = TextField(null=True)
    extension = TextField(null=True)
    size_bytes = BigIntegerField(null=True)
    sha256 = TextField(null=True)
    object_key = TextField(null=True)
    # The hash of the last unconfirmed answer. A document stored under it is `unverified`.
    doubted_sha256 = TextField(null=True)
    is_reused = BooleanField(constraints=[Default("false")])

    error_reason = TextField(null=True)
    error_message = TextField(null=True)
    error_is_retryable = BooleanField(null=True)

    class Meta:
        """CHECKs against contradictory rows."""

        table_name = "documents"
        primary_key = CompositeKey("job_id", "document_id")
        # Room for new versions of a row beside the old one.
        table_settings = ("WITH (fillfactor = 85)",)
        constraints = checks(
            "documents",
            position="position >= 0",
            state=one_of("state", DocumentState),
            href_index="href_index >= 0",
            listed_size_bytes="listed_size_bytes >= 0",
            size_bytes="size_bytes > 0",
            sha256="sha256 ~ '^[0-9a-f]{64}$'",
            doubted_sha256="doubted_sha256 ~ '^[0-9a-f]{64}$'",
            # A claim lasts from DOWNLOADING until the bucket has the file, and exists in no other
            # state.
            lease_while_in_lane=f"({one_of('state', _IN_LANE)}) = (lease IS NOT NULL)",
            lease_has_spool="(lease IS NULL) = (spool_id IS NULL)",
            lease_end_has_lease="lease IS NOT NULL OR lease_until IS NULL",
            downloading_has_lease_end="state <> 'DOWNLOADING' OR lease_until IS NOT NULL",
            slice_has_size="(slice IS NULL) = (slice_size IS NULL)",
            # A claim keeps it, for a document that is given back without a request.
            not_before_until_answer="state IN ('PENDING', 'DOWNLOADING') OR not_before IS NULL",
            # A document that must still be fetched has a link.
            fetchable_has_link="state IN ('AVAILABLE', 'FAILED', 'CANCELLED', 'SKIPPED')"
            " OR href_index < cardinality(hrefs)",
            file_has_hash="(state IN ('DOWNLOADED', 'AVAILABLE')) = (sha256 IS NOT NULL)",
            hash_has_size="(sha256 IS NULL) = (size_bytes IS NULL)",
            hash_has_content_type="(sha256 IS NULL) = (content_type IS NULL)",
            hash_has_extension="(sha256 IS NULL) = (extension IS NULL)",
            available_has_object="(state = 'AVAILABLE') = (object_key IS NOT NULL)",
            failed_has_reason="state <> 'FAILED' OR error_reason IS NOT NULL",
            available_has_no_reason="state <> 'AVAILABLE' OR error_reason IS NULL",
            reason_has_message="(error_reason IS NULL) = (error_message IS NULL)",
            reason_has_retryable="(error_reason IS NULL) = (error_is_retryable IS NULL)",
            reused_is_available="NOT is_reused OR state = 'AVAILABLE'",
        )


Document.add_index(Document.job_id, Document.position, unique=True, name="documents_in_order")
Document.add_index(Document.job_id, Document.revision, name="documents_changed")
Document.add_index(
    Document.job_id,
    Document.position,
    where=(Document.state == _PENDING) & Document.not_before.is_null(),
    name="documents_fresh",
)
Document.add_index(
    Document.job_id,
    Document.not_before,
    where=(Document.state == _PENDING) & Document.not_before.is_null(False),
    name="documents_due",
)
# Few documents are in a lane at a time. No index holds lease_until, so a renewal updates no index.
Document.add_index(Document.job_id, where=Document.state.in_(_IN_LANE), name="documents_in_lane")
Document.add_index(
    Document.lease, unique=True, where=Document.lease.is_null(False), name="documents_lease"
)
Document.add_index(Document.spool_id, where=Document.state == _DOWNLOADED, name="documents_spooled")
Document.add_index(
    Document.document_id, where=Document.state == _AVAILABLE, name="documents_stored"
)
Document.add_index(
    Document.object_key, where=Document.object_key.is_null(False), name="documents_object"
)


class SpoolState(BaseModel):
    """A spool, alive while its uploader renews the heartbeat."""

    spool_id = UUIDField(primary_key=True)
    heartbeat_time = DateTimeTZField()
    # The reason why the spool takes no more files; empty while it does.
    trouble = TextField(constraints=[Default("''")])

    class Meta:
        """The name of the table."""

        table_name = "spools"


class SweptObject(BaseModel):
    """An object without a row that a sweep deleted. A concurrent upload reads this record."""

    object_key = TextField(primary_key=True)
    sweep_time = timestamp_now()

    class Meta:
        """The name of the table."""

        table_name = "swept_objects"
