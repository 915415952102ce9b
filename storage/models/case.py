"""What outlives the jobs of a case: its secrecy, and the answers of the portal about it."""

from __future__ import annotations

from typing import Any

from peewee import (
    BigIntegerField,
    BlobField,
    BooleanField,
    CompositeKey,
    IntegerField,
    TextField,
    fn,
)
from playhouse.postgres_ext import BinaryJSONField, DateTimeTZField

from storage.models.base import BaseModel, checks, timestamp_now


class CaseSecrecy(BaseModel):
    """What the portal answered about a case, whichever client's job asked."""

    process_number = TextField(primary_key=True)
    # When a listing first had a seal: from then on no listing is copied to another client.
    sealed_time = DateTimeTZField(null=True)
    # When a listing was last answered NO_ACCESS: no listing from before is used again.
    denied_time = DateTimeTZField(null=True)

    @classmethod
    def deny(cls, process_number: str) -> Any:
        """Return the query by which no listing of the case from before now is used again."""
        return cls.insert(
            process_number=process_number, denied_time=fn.clock_timestamp()
        ).on_conflict(
            conflict_target=[cls.process_number], update={cls.denied_time: fn.clock_timestamp()}
        )

    class Meta:
        """No more than this."""

        table_name = "case_secrecy"


class CaseAnswer(BaseModel):
    """An answer of the portal that listed a case for a client. Equal answers have one row.

    The row is made with the listing. The bytes go into the bucket afterwards: until then they stand
    in `content`, or under `source_key`, the object of the client whose listing was copied.
    """

    client = TextField()
    process_number = TextField()
    # Lower-case hex, of the bytes as they came.
    sha256 = TextField()
    size_bytes = BigIntegerField()
    # When the portal gave this answer last.
    listed_time = timestamp_now()
    secrecy_level = IntegerField(null=True)
    # False only if the listing had no seal at all.
    is_sealed = BooleanField()
    # `court` and `proceedings`, as case_data.py makes them.
    data = BinaryJSONField(index=False)
    # The bytes, compressed with zlib, until the bucket has them.
    content = BlobField(null=True)
    object_key = TextField(null=True)
    source_key = TextField(null=True)

    class Meta:
        """The newest answer is found by index; so are those that the bucket does not have yet."""

        table_name = "case_answers"
        primary_key = CompositeKey("client", "process_number", "sha256")
        constraints = checks(
            "case_answers",
            sha256="sha256 ~ '^[0-9a-f]{64}$'",
            size_bytes="size_bytes > 0",
            has_bytes="num_nonnulls(content, object_key, source_key) = 1",
        )


CaseAnswer.add_index(
    CaseAnswer.client,
    CaseAnswer.process_number,
    CaseAnswer.listed_time.desc(),
    name="case_answers_newest",
)
CaseAnswer.add_index(
    CaseAnswer.listed_time,
    where=CaseAnswer.object_key.is_null(),
    name="case_answers_without_object",
)
