"""The installation that owns database and bucket, and the objects that a sweep may delete."""

from __future__ import annotations

from peewee import BigIntegerField, BooleanField, CompositeKey, Default, TextField, UUIDField
from playhouse.postgres_ext import DateTimeTZField

from storage.models.base import BaseModel, checks, timestamp_now


class Installation(BaseModel):
    """One row, made by `release`. The bucket holds its id in a mark, and the beat beside it."""

    is_only_row = BooleanField(primary_key=True, constraints=[Default("true")])
    installation_id = UUIDField()
    # Grows by one a minute, first here and then in the bucket. A bucket with a larger number shows
    # that this database was restored.
    beat = BigIntegerField(constraints=[Default(0)])
    # By the clock of S3. Objects in the bucket before that time may have lost their rows: they
    # stay.
    adopt_time = DateTimeTZField(null=True)
    # How many objects without a row an operator lets the next sweep delete.
    sweep_allowance = BigIntegerField(constraints=[Default(0)])
    # Why database and bucket do not belong together; empty while they do.
    bucket_trouble = TextField(constraints=[Default("''")])
    # Why the last sweep stopped; empty if it did not.
    sweep_trouble = TextField(constraints=[Default("''")])

    class Meta:
        """A CHECK against a second row."""

        table_name = "installation"
        constraints = checks(
            "installation",
            is_one="is_only_row",
            beat_grows="beat >= 0",
            allowance_counts="sweep_allowance >= 0",
        )


class SweepCandidate(BaseModel):
    """An object without a row, found by a sweep. A later sweep deletes it if it has none then."""

    object_key = TextField(primary_key=True)
    find_time = DateTimeTZField()
    see_time = DateTimeTZField()

    class Meta:
        """A CHECK: no object is seen before it is found."""

        table_name = "sweep_candidates"
        constraints = checks("sweep_candidates", seen_since_found="see_time >= find_time")


class ServiceRefusal(BaseModel):
    """An operation that a dependency refuses. In force while `see_time` is recent."""

    part = TextField()
    operation = TextField()
    # The dependency's own code for it, and its text.
    code = TextField()
    answer = TextField()
    since_time = timestamp_now()
    see_time = timestamp_now()

    class Meta:
        """One row for each operation of a dependency."""

        table_name = "service_refusals"
        primary_key = CompositeKey("part", "operation")
        constraints = checks("service_refusals", seen_since="see_time >= since_time")
