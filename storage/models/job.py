"""Jobs."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from peewee import (
    SQL,
    BigIntegerField,
    BooleanField,
    Default,
    DoubleField,
    IntegerField,
    TextField,
    UUIDField,
    fn,
)
from playhouse.postgres_ext import ArrayField, BinaryJSONField, DateTimeTZField

from storage.models.base import BaseModel, checks, one_of, reference, timestamp_now
from storage.priorities import Priority
from storage.states import JOB_RUNNING, JobState

RUNNING = tuple(sorted(JOB_RUNNING))


class Job(BaseModel):
    """One download of a case for one client. Its legal moves: storage/states.py."""

    job_id = UUIDField(primary_key=True)
    client = TextField()
    process_number = TextField()
    court = TextField(
        constraints=[SQL("GENERATED ALWAYS AS (substr(process_number, 17, 4)) STORED")]
    )
    priority = TextField(constraints=[Default("'NORMAL'")])
    state = TextField()
    # RetryJob begins a new run.
    run = IntegerField(constraints=[Default(1)])
    # Each change of the job or of one of its documents takes the next number.
    revision = BigIntegerField(constraints=[Default(1)])
    # A number up to the client's limit. Below zero: of the limit of jobs that wait for their own
    # time or for the budget of cases. Kept after the end, without a meaning. Null: no limit.
    seat = IntegerField(null=True)

    total_documents = IntegerField(null=True)
    completed_documents = IntegerField(constraints=[Default(0)])
    failed_documents = IntegerField(constraints=[Default(0)])
    cancelled_documents = IntegerField(constraints=[Default(0)])
    reused_documents = IntegerField(constraints=[Default(0)])
    # Listed and not wanted.
    skipped_documents = IntegerField(constraints=[Default(0)])
    # Documents of the previous listing that the current one lacks.
    vanished_documents = IntegerField(constraints=[Default(0)])
    vanished_document_ids = ArrayField(UUIDField, index=False, constraints=[Default("'{}'")])
    stored_bytes = BigIntegerField(constraints=[Default(0)])
    secrecy_level = IntegerField(null=True)

    error_reason = TextField(null=True)
    error_message = TextField(null=True)
    error_is_retryable = BooleanField(null=True)

    create_time = timestamp_now()
    # The time at which RetryJob began the current run; null in the first run, which create_time
    # begins.
    rerun_time = DateTimeTZField(null=True)
    start_time = DateTimeTZField(null=True)
    update_time = timestamp_now()
    end_time = DateTimeTZField(null=True)
    expire_time = DateTimeTZField(null=True)
    deadline_time = DateTimeTZField()

    # The wanted documents: those that meet any of these, see storage/selections/selection.py. Null:
    # every document. Empty: none, the job only lists the case.
    selections = BinaryJSONField(null=True, index=False)
    # Selected ids that the listing does not have, at most 100.
    unlisted_document_ids = ArrayField(UUIDField, index=False, constraints=[Default("'{}'")])
    # The caller's names for the job. Their index is the table job_labels.
    labels = BinaryJSONField(index=False, constraints=[Default("'{}'")])
    # The portal is not requested before.
    not_before_time = DateTimeTZField(null=True)
    # Seconds after the end for which the stored documents are kept. Null: the client's setting.
    retention_s = DoubleField(null=True)
    # The batch whose call made the job. A batch that joined it has a row in batch_items only.
    batch_id = UUIDField(null=True)

    max_age_s = DoubleField()
    # Whether the client may not fetch sealed cases: then a listing with any seal ends the run.
    refuses_sealed = BooleanField(constraints=[Default("false")])
    listed_time = DateTimeTZField(null=True)
    # The job that the listing is copied from. Null: the portal is requested, for one job of a case
    # at a time.
    listed_by = UUIDField(null=True)
    # The job whose document rows are also this job's: all of them AVAILABLE, so they never change.
    # Null: the job has rows of its own, or none.
    documents_of = reference("self", null=True, column_name="documents_of")
    listing_lease = UUIDField(null=True)
    listing_lease_until = DateTimeTZField(null=True)
    listing_not_before = DateTimeTZField(null=True)
    listing_attempt_count = IntegerField(constraints=[Default(0)])
    listing_lost_count = IntegerField(constraints=[Default(0)])
    # How many times in a row the portal asked for a pause instead of listing.
    listing_pause_count = IntegerField(constraints=[Default(0)])
    # The time since which the listing got only 502, 503, 504 or no answer.
    listing_failing_since = DateTimeTZField(null=True)
    # The time since which the listing is in doubt, because it lacked documents of an earlier one.
    # The next listing is recorded, whatever it lacks.
    listing_doubt_time = DateTimeTZField(null=True)
    # The time since which the job waits because the budget of different cases is used up: its
    # deadline stands still. Null: it does not wait. `budget_scope`: the court with that budget; '':
    # the budget of all courts.
    budget_wait_time = DateTimeTZField(null=True)
    budget_scope = TextField(null=True)
    # The time since which files fail although the court answers listing requests.
    files_failing_since = DateTimeTZField(null=True)

    # Whether it is a look: the listing of a watched case (storage/subscriptions/). No caller sees a
    # look. If something has changed, it becomes a job, or it stays as a row that ended, which holds
    # the event; otherwise it is deleted.
    is_look = BooleanField(constraints=[Default("false")])

    # traceparent of W3C Trace Context: the call that began the run. Null: no trace. The column
    # exists because messages carry ids only.
    traceparent = TextField(null=True)

    @classmethod
    def advance(cls, job_id: UUID) -> Any:
        """Return the query that locks a job, takes its next revision and returns its row."""
        return (
            cls.update(revision=cls.revision + 1, update_time=fn.clock_timestamp())
            .where(cls.job_id == job_id)
            .returning(cls)
            .dicts()
        )

    @classmethod
    def documents_left(cls) -> Any:
        """Return the number of listed documents that have not ended, as SQL."""
        return (
            cls.total_documents
            - cls.completed_documents
            - cls.failed_documents
            - cls.cancelled_documents
            - cls.skipped_documents
        )

    class Meta:
        """CHECKs against contradictory rows."""

        table_name = "jobs"
        constraints = checks(
            "jobs",
            process_number=r"process_number ~ '^\d{7}-\d{2}\.\d{4}\.\d\.\d{2}\.\d{4}$'",
            priority=one_of("priority", Priority),
            state=one_of("state", JobState),
            run="run > 0",
            seat="seat <> 0",
            total_documents="total_documents >= 0",
            completed_documents="completed_documents >= 0",
            failed_documents="failed_documents >= 0",
            cancelled_documents="cancelled_documents >= 0",
            reused_documents="reused_documents >= 0",
            skipped_documents="skipped_documents >= 0",
            vanished_documents="vanished_documents >= 0",
            stored_bytes="stored_bytes >= 0",
            max_age_s="max_age_s >= 0",
            retention_s="retention_s > 0",
            traceparent="traceparent ~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$'",
            running_has_no_end=f"({one_of('state', RUNNING)}) = (end_time IS NULL)",
            pending_has_no_start="(state = 'PENDING') = (start_time IS NULL)",
            ended_documents_within_total="completed_documents + failed_documents"
            " + cancelled_documents + skipped_documents <= coalesce(total_documents, 0)",
            reused_within_completed="reused_documents <= completed_documents",
            total_since_listing="(total_documents IS NULL) = (listed_time IS NULL)",
            listing_lease_has_end="(listing_lease IS NULL) = (listing_lease_until IS NULL)",
            listing_lease_before_listing="listing_lease IS NULL"
            " OR (state = 'PROCESSING' AND listed_time IS NULL)",
            referring_is_complete="documents_of IS NULL OR state IN ('PROCESSING', 'COMPLETED')",
            refers_to_another="documents_of <> job_id",
            budget_wait_has_scope="(budget_wait_time IS NULL) = (budget_scope IS NULL)",
            # A CHECK that is null passes, so a missing total is not compared.
            completed_has_all_documents="state <> 'COMPLETED'"
            " OR (total_documents IS NOT NULL"
            " AND completed_documents + skipped_documents = total_documents)",
            partially_completed_has_both="state <> 'PARTIALLY_COMPLETED'"
            " OR (completed_documents > 0 AND failed_documents > 0 AND total_documents IS NOT NULL"
            " AND completed_documents + failed_documents + skipped_documents = total_documents)",
            ended_has_ended_documents="end_time IS NULL OR total_documents IS NULL"
            " OR completed_documents + failed_documents + cancelled_documents"
            " + skipped_documents = total_documents",
            failed_has_no_completed="state <> 'FAILED' OR completed_documents = 0",
            failed_has_reason="(state = 'FAILED') = (error_reason IS NOT NULL)",
            reason_has_message="(error_reason IS NULL) = (error_message IS NULL)",
            reason_has_retryable="(error_reason IS NULL) = (error_is_retryable IS NULL)",
        )


# One job of a case at a time; StartDownload joins it. A look runs beside it.
Job.add_index(
    Job.client,
    Job.process_number,
    unique=True,
    where=Job.state.in_(RUNNING) & (Job.is_look == SQL("false")),
    name="jobs_active",
)
Job.add_index(
    Job.client,
    Job.process_number,
    unique=True,
    where=Job.state.in_(RUNNING) & (Job.is_look == SQL("true")),
    name="jobs_looks",
)
# A client has at most as many concurrent jobs as seats.
Job.add_index(Job.client, Job.seat, unique=True, where=Job.state.in_(RUNNING), name="jobs_seats")
# Looks that became no job are not in it: there may be many more of them than jobs.
Job.add_index(
    Job.client,
    Job.create_time.desc(),
    Job.job_id.desc(),
    where=Job.is_look == SQL("false"),
    name="jobs_newest",
)
Job.add_index(
    Job.client,
    Job.process_number,
    Job.create_time.desc(),
    Job.job_id.desc(),
    name="jobs_of_case",
)
# In the order of a page of ListJobs.
Job.add_index(
    Job.batch_id,
    Job.create_time.desc(),
    Job.job_id.desc(),
    where=Job.batch_id.is_null(False),
    name="jobs_of_batch",
)
# No index holds update_time or revision: they change with every document, and a change without an
# index update is much cheaper.
#
# The scheduler reads this index in portions, by key. The second column is null in all of its rows.
# Without it a plan could use the primary key for this order, and would read past all ended jobs.
Job.add_index(Job.job_id, Job.end_time, where=Job.state.in_(RUNNING), name="jobs_running_by_key")
# The scheduler rereads these soon after the run began.
Job.add_index(
    fn.COALESCE(Job.rerun_time, Job.create_time), where=Job.state.in_(RUNNING), name="jobs_began"
)
Job.add_index(Job.documents_of, where=Job.documents_of.is_null(False), name="jobs_documents_of")
Job.add_index(Job.listing_lease, where=Job.listing_lease.is_null(False), name="jobs_listing")
Job.add_index(
    Job.process_number,
    Job.listed_time,
    where=Job.listed_time.is_null(False),
    name="jobs_listed",
)
Job.add_index(
    Job.process_number,
    where=Job.listed_time.is_null() & Job.end_time.is_null(),
    name="jobs_unlisted",
)
Job.add_index(
    Job.budget_scope,
    where=Job.state.in_(RUNNING) & Job.budget_wait_time.is_null(False),
    name="jobs_over_budget",
)


# The condition under which callers see a job.
IS_NO_LOOK = Job.is_look == SQL("false")
