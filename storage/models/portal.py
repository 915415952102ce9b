"""What all processes share about the portal: slots, pauses, courts and logins."""

from __future__ import annotations

from peewee import (
    BigIntegerField,
    BooleanField,
    CompositeKey,
    Default,
    DoubleField,
    IntegerField,
    TextField,
    UUIDField,
)
from playhouse.postgres_ext import DateTimeTZField

from storage.models.base import BaseModel, checks

_LONG_AGO = Default("'-infinity'")


class Slot(BaseModel):
    """A request that may be at the portal at once: scope '' is the portal, else a court.

    A request holds one slot of each under its claim's token, and as long as the claim's lease.
    """

    scope = TextField()
    number = IntegerField()
    lease = UUIDField(null=True)
    lease_until = DateTimeTZField(null=True)
    taken_time = DateTimeTZField(null=True)
    # The job of the slice that holds it.
    job_id = UUIDField(null=True)

    class Meta:
        """A slot that is held is held under a token, since a time and until a time."""

        table_name = "slots"
        primary_key = CompositeKey("scope", "number")
        constraints = checks(
            "slots",
            number="number >= 0",
            lease_has_end="(lease IS NULL) = (lease_until IS NULL)",
            lease_has_taken_time="(lease IS NULL) = (taken_time IS NULL)",
        )


Slot.add_index(
    Slot.lease, Slot.scope, unique=True, where=Slot.lease.is_null(False), name="slots_lease"
)


class PortalThrottle(BaseModel):
    """What holds back requests to the portal as a whole, in one row."""

    is_only = BooleanField(primary_key=True, constraints=[Default("true")])
    # Nothing is requested before.
    paused_until = DateTimeTZField(constraints=[_LONG_AGO])
    pause_time = DateTimeTZField(constraints=[_LONG_AGO])
    pause_count = IntegerField(constraints=[Default(0)])
    # The last good answer of a slow start: it shows that others are given what they ask for.
    good_time = DateTimeTZField(constraints=[_LONG_AGO])
    # After a pause: requests at once, growing fast up to half of what there were, then slowly up to
    # what is set. Null: as many as are set.
    eased = DoubleField(null=True)
    eased_fast_to = DoubleField(null=True)
    eased_to = IntegerField(null=True)
    # For PDPJ_MAX_PER_MINUTE: when the next request may begin.
    next_request_time = DateTimeTZField(constraints=[_LONG_AGO])

    class Meta:
        """There is no second row."""

        table_name = "portal"
        constraints = checks("portal", is_only="is_only", eased="eased >= 1")


class Court(BaseModel):
    """What is known about one court: how long its requests take, and whether it answers."""

    court = TextField(primary_key=True)
    # Seconds that a request took lately, as a moving average.
    request_s = DoubleField(constraints=[Default(0.5)])
    measured_requests = BigIntegerField(constraints=[Default(0)])
    # 502, 503, 504 or silence, this often in a row.
    failure_count = IntegerField(constraints=[Default(0)])
    failing_since = DateTimeTZField(null=True)
    alive_time = DateTimeTZField(null=True)
    # Not null: the court counts as away, and one probe may be sent from then on.
    next_probe_time = DateTimeTZField(null=True)
    probe_count = IntegerField(constraints=[Default(0)])

    class Meta:
        """A request takes time."""

        table_name = "courts"
        constraints = checks("courts", request_s="request_s > 0")


class PortalLogin(BaseModel):
    """The portal's token, by the login that it was got with.

    Tokens are encrypted; of what is configured there are fingerprints only.
    """

    # Kind, address and client; and, where there is one, a fingerprint of the configured token that
    # what is stored here descends from.
    login_key = TextField(primary_key=True)
    generation = BigIntegerField(constraints=[Default(0)])
    access_token = TextField(null=True)
    # From then on a newer one is fetched, a minute before the end.
    access_refresh_time = DateTimeTZField(null=True)
    access_expires_time = DateTimeTZField(null=True)
    refresh_token = TextField(null=True)
    # The process that holds it is the only one that logs in.
    lease = UUIDField(null=True)
    lease_until = DateTimeTZField(null=True)
    # No process logs in before: not often in a row, and after failures seldom.
    next_login_time = DateTimeTZField(null=True)
    failure_count = IntegerField(constraints=[Default(0)])
    # Refused: not tried again before, unless what is configured has another fingerprint.
    refused_until = DateTimeTZField(null=True)
    refused_fingerprint = TextField(null=True)
    refused_reason = TextField(null=True)
    # The case that was answered 401, while no good answer has come since.
    doubtful_case = TextField(null=True)
    doubt_time = DateTimeTZField(null=True)

    class Meta:
        """What belongs together is there together."""

        table_name = "logins"
        constraints = checks(
            "logins",
            lease_has_end="(lease IS NULL) = (lease_until IS NULL)",
            access_has_refresh_time="(access_token IS NULL) = (access_refresh_time IS NULL)",
            access_has_expires_time="(access_token IS NULL) = (access_expires_time IS NULL)",
            refusal_has_fingerprint="(refused_until IS NULL) = (refused_fingerprint IS NULL)",
            refusal_has_reason="(refused_until IS NULL) = (refused_reason IS NULL)",
            doubt_has_time="(doubtful_case IS NULL) = (doubt_time IS NULL)",
        )
