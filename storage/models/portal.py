"""The portal's state that all processes share: slots, pauses, courts and logins."""

from __future__ import annotations

from peewee import (
    BigIntegerField,
    BlobField,
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
    """A slot for one concurrent request. Scope '' is the portal, any other scope is a court.

    A request holds one slot of each under its claim's token, as long as the claim's lease.
    """

    scope = TextField()
    number = IntegerField()
    lease = UUIDField(null=True)
    lease_until = DateTimeTZField(null=True)
    taken_time = DateTimeTZField(null=True)
    # The job of the slice that holds it.
    job_id = UUIDField(null=True)

    class Meta:
        """A CHECK: a held slot has a token, a begin and an end."""

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
    """The limits on requests to the portal as a whole, in one row."""

    is_only = BooleanField(primary_key=True, constraints=[Default("true")])
    # No request is sent before this time.
    paused_until = DateTimeTZField(constraints=[_LONG_AGO])
    # The only client that the last pause stops; null: it stops all.
    paused_client = TextField(null=True)
    pause_time = DateTimeTZField(constraints=[_LONG_AGO])
    pause_count = IntegerField(constraints=[Default(0)])
    # The last good answer in a slow start, or the first after a pause of one client: it shows that
    # other requests succeed.
    good_time = DateTimeTZField(constraints=[_LONG_AGO])
    # After a pause: concurrent requests. They grow fast up to half of their former number, then
    # slowly up to the setting. Null: the setting applies.
    eased = DoubleField(null=True)
    eased_fast_to = DoubleField(null=True)
    eased_to = IntegerField(null=True)
    # For PDPJ_MAX_PER_MINUTE: when the next request may begin.
    next_request_time = DateTimeTZField(constraints=[_LONG_AGO])

    class Meta:
        """A CHECK against a second row."""

        table_name = "portal"
        constraints = checks("portal", is_only="is_only", eased="eased >= 1")


class Court(BaseModel):
    """The state of one court: the duration of its requests, and whether it answers."""

    court = TextField(primary_key=True)
    # The moving average of a request's duration in seconds.
    request_s = DoubleField(constraints=[Default(0.5)])
    measured_requests = BigIntegerField(constraints=[Default(0)])
    # The number of consecutive 502, 503, 504 or missing answers.
    failure_count = IntegerField(constraints=[Default(0)])
    failing_since = DateTimeTZField(null=True)
    # The client of all these requests, which alone counts the court as away; null: several clients.
    failing_client = TextField(null=True)
    alive_time = DateTimeTZField(null=True)
    # Not null: the court counts as away, and one probe may be sent from this time on.
    next_probe_time = DateTimeTZField(null=True)
    probe_count = IntegerField(constraints=[Default(0)])

    class Meta:
        """A CHECK: a request takes time."""

        table_name = "courts"
        constraints = checks("courts", request_s="request_s > 0")


class PortalLogin(BaseModel):
    """The portal's token, by the login that obtained it.

    Tokens are encrypted. Of the configured credentials there are only fingerprints.
    """

    # Kind, address and client. If a token is configured, also its fingerprint: the stored tokens
    # descend from it.
    login_key = TextField(primary_key=True)
    generation = BigIntegerField(constraints=[Default(0)])
    access_token = TextField(null=True)
    # From this time on a newer token is fetched, a minute before the end.
    access_refresh_time = DateTimeTZField(null=True)
    access_expires_time = DateTimeTZField(null=True)
    refresh_token = TextField(null=True)
    # The process that holds this lease is the only one that logs in.
    lease = UUIDField(null=True)
    lease_until = DateTimeTZField(null=True)
    # No process logs in before this time: logins are rare, and rarer after failures.
    next_login_time = DateTimeTZField(null=True)
    failure_count = IntegerField(constraints=[Default(0)])
    # Blocked: no login before this time, unless the configured credentials have another
    # fingerprint.
    refused_until = DateTimeTZField(null=True)
    refused_fingerprint = TextField(null=True)
    refused_reason = TextField(null=True)
    # The only client that the block stops; null: it stops all.
    refused_client = TextField(null=True)
    # The case that got a 401, and its client, while no good answer has followed.
    doubtful_case = TextField(null=True)
    doubtful_client = TextField(null=True)
    doubt_time = DateTimeTZField(null=True)

    class Meta:
        """CHECKs: columns that belong together are set together."""

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


class RequestedCase(BaseModel):
    """A case with a listing that was requested from the portal while a budget of cases was set.

    It counts for the budget's windows from its newest request on. No row names a case, a client or
    a job, so an erasure does not touch it.
    """

    # HMAC-SHA256 of the case number: see sql/portal/check_case_budget.sql.
    case_hmac = BlobField(primary_key=True, index=False)
    court = TextField()
    request_time = DateTimeTZField()

    class Meta:
        """Rows older than the longest window are deleted."""

        table_name = "requested_cases"


RequestedCase.add_index(RequestedCase.request_time, name="requested_cases_newest")
RequestedCase.add_index(
    RequestedCase.court, RequestedCase.request_time, name="requested_cases_of_court"
)
