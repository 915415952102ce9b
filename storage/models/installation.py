"""The installation that database and bucket belong to, and the objects that a sweep may delete."""

from __future__ import annotations

from peewee import BigIntegerField, BooleanField, Default, TextField, UUIDField
from playhouse.postgres_ext import DateTimeTZField

from storage.models.base import BaseModel, checks


class Installation(BaseModel):
    """One row, made by `release`. The bucket holds its id in a mark, and the beat beside it."""

    is_only_row = BooleanField(primary_key=True, constraints=[Default("true")])
    installation_id = UUIDField()
    # Grows by one a minute, here first and then in the bucket: a bucket that is ahead shows that
    # this database was restored.
    beat = BigIntegerField(constraints=[Default(0)])
    # By the clock of S3. What the bucket held by then may have lost its rows: it stays.
    adopt_time = DateTimeTZField(null=True)
    # How many objects without a row an operator lets the next sweep delete.
    sweep_allowance = BigIntegerField(constraints=[Default(0)])
    # Why database and bucket do not belong together; empty while they do.
    bucket_trouble = TextField(constraints=[Default("''")])
    # Why the last sweep stopped; empty if it did not.
    sweep_trouble = TextField(constraints=[Default("''")])

    class Meta:
        """There is no second row."""

        table_name = "installation"
        constraints = checks(
            "installation",
            is_one="is_only_row",
            beat_grows="beat >= 0",
            allowance_counts="sweep_allowance >= 0",
        )


class SweepCandidate(BaseModel):
    """An object that no row named when a sweep looked. A later sweep deletes it if still so."""

    object_key = TextField(primary_key=True)
    find_time = DateTimeTZField()
    see_time = DateTimeTZField()

    class Meta:
        """An object is seen when it is found, or later."""

        table_name = "sweep_candidates"
        constraints = checks("sweep_candidates", seen_since_found="see_time >= find_time")
