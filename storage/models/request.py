"""The calls that started jobs, and the labels by which callers find jobs."""

from __future__ import annotations

from peewee import BooleanField, CompositeKey, Default, IntegerField, TextField, UUIDField
from playhouse.postgres_ext import BinaryJSONField, DateTimeTZField

from storage.models.base import BaseModel, checks, reference, timestamp_now
from storage.models.job import Job


class Batch(BaseModel):
    """A StartDownloads call. If it has a request_id, its row in `requests` names the batch."""

    batch_id = UUIDField(primary_key=True)
    client = TextField()
    create_time = timestamp_now()
    # Refused requests. Null: not every request has a result yet.
    refused = IntegerField(null=True)

    class Meta:
        """CHECKs against contradictory rows."""

        table_name = "batches"
        constraints = checks("batches", refused="refused >= 0")


class BatchItem(BaseModel):
    """The result of one request of a batch. It is written once, with the job that it names."""

    batch_id = reference(Batch, on_delete="CASCADE")
    # The position of the request in the call, from 0.
    place = IntegerField()
    # Not a foreign key: for a joined job its check would wait for every transaction that has locked
    # the job, and the deletion of a job would need an index here.
    job_id = UUIDField(null=True)
    # Whether the request made the job.
    is_new = BooleanField(constraints=[Default("false")])
    # Why the request was refused: the fields of storage/jobs/batches.py's Refusal.
    refusal = BinaryJSONField(null=True, index=False)

    class Meta:
        """A request has one result: a job or a refusal."""

        table_name = "batch_items"
        primary_key = CompositeKey("batch_id", "place")
        constraints = checks(
            "batch_items",
            place="place >= 0",
            one_result="(job_id IS NULL) <> (refusal IS NULL)",
        )


class JobLabel(BaseModel):
    """A label of a job: the index of the filter of ListJobs."""

    job_id = reference(Job, on_delete="CASCADE")
    key = TextField()
    value = TextField()
    client = TextField()
    create_time = DateTimeTZField()

    class Meta:
        """A job has a key once."""

        table_name = "job_labels"
        primary_key = CompositeKey("job_id", "key")


# In the order of a page of ListJobs.
JobLabel.add_index(
    JobLabel.client,
    JobLabel.key,
    JobLabel.value,
    JobLabel.create_time.desc(),
    JobLabel.job_id.desc(),
    name="job_labels_newest",
)


class Request(BaseModel):
    """A call with a request_id, whether it made a job or joined one, or is a batch."""

    client = TextField()
    request_id = UUIDField()
    payload_sha256 = TextField()
    job_id = reference(Job, null=True, on_delete="CASCADE")
    batch_id = reference(Batch, null=True, on_delete="CASCADE")
    create_time = timestamp_now()

    class Meta:
        """A client uses a request_id once."""

        table_name = "requests"
        primary_key = CompositeKey("client", "request_id")
        constraints = checks("requests", one_target="(job_id IS NULL) <> (batch_id IS NULL)")


Request.add_index(Request.job_id, name="requests_of_job")
