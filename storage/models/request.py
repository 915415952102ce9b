"""The calls that started jobs, and the labels by which callers find jobs."""

from __future__ import annotations

from peewee import CompositeKey, TextField, UUIDField
from playhouse.postgres_ext import DateTimeTZField

from storage.models.base import BaseModel, checks, reference, timestamp_now
from storage.models.batch import Batch
from storage.models.job import Job


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
