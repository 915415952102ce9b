"""New jobs of cases that nobody has asked for lately: many calls' in one step.

That is what StartDownload is mostly for. Whatever else a call may find - its job, an earlier call
with its request_id, a listing that may be reused, no seat - `jobs.start` looks at more closely.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from uuid import UUID

from storage import jobs, reuse, turns
from storage.database import Database
from storage.functions import Function, with_variables
from storage.jobs import StartRequest
from storage.receivers import receiver_of
from storage.records import JobRecord, JobView, WebhookRecord
from storage.states import WebhookState

_ITS = {
    "job_id": "%(job_ids)s[i]",
    "client": "%(clients)s[i]",
    "process_number": "%(process_numbers)s[i]",
    "state": "%(states)s[i]",
    "priority": "%(priorities)s[i]",
    "max_age_s": "%(max_ages_s)s[i]",
    "traceparent": "%(traceparents)s[i]",
    "seat": "NULL",
    "seats": "%(limits)s[i]",
    "url": "%(urls)s[i]",
    "receiver": "%(receivers)s[i]",
    "request_id": "%(request_ids)s[i]",
    "payload": "%(payloads)s[i]",
    "most": "NULL",
}

START = Function(
    "autos_start",
    {
        "job_ids": "uuid[]",
        "places": "integer[]",
        "clients": "text[]",
        "process_numbers": "text[]",
        "states": "text[]",
        "priorities": "text[]",
        "max_ages_s": "double precision[]",
        "traceparents": "text[]",
        "limits": "integer[]",
        "urls": "text[]",
        "receivers": "text[]",
        "request_ids": "uuid[]",
        "payloads": "text[]",
        "deadline_s": "double precision",
    },
    "jobs",
    with_variables(
        f"""
DECLARE made integer; begun uuid[] := '{{}}';
BEGIN
    -- Whoever works on one of the cases must not hold up all others.
    PERFORM set_config('lock_timeout', '200ms', true);
    -- Who holds seats and draws more could wait for another who does the same.
    PERFORM pg_advisory_xact_lock(hashtextextended('seats ' || client, 0)) FROM (
        SELECT DISTINCT client FROM unnest(%(clients)s, %(limits)s) AS asked(client, most)
        WHERE most IS NOT NULL ORDER BY 1) AS theirs;
    FOR i IN 1..cardinality(%(job_ids)s) LOOP
        CONTINUE WHEN EXISTS (SELECT FROM requests
            WHERE client = %(client)s AND request_id = %(request_id)s);
        CONTINUE WHEN %(max_age_s)s > 0 AND EXISTS ({reuse.RECENT});
        RETURN QUERY {jobs.INSERT} RETURNING *;
        GET DIAGNOSTICS made = ROW_COUNT;
        CONTINUE WHEN made = 0;
        begun := begun || %(job_id)s;
        IF %(url)s IS NOT NULL THEN {jobs.INSERT_WEBHOOK}; END IF;
        IF %(request_id)s IS NOT NULL THEN
            {jobs.REMEMBER};
            -- Another call was first: begin again, and find its job.
            IF NOT FOUND THEN RAISE 'request_id taken'; END IF;
        END IF;
    END LOOP;
    -- In the order in which they were asked for.
    begun := ARRAY(SELECT job_id FROM unnest(%(job_ids)s, %(places)s) AS asked(job_id, place)
        WHERE job_id = ANY(begun) ORDER BY place);
    {with_variables(turns.ENTER, job_ids="begun")};
END""",
        **_ITS,
    ),
)


def start_fresh(
    database: Database, requests: Sequence[StartRequest], *, job_deadline_s: int
) -> list[JobView | None]:
    """The new job of each request; None for one that `jobs.start` must look at more closely."""
    # In one order, or two who start the same cases could wait for each other.
    ordered = sorted(
        range(len(requests)), key=lambda i: (requests[i].client, requests[i].process_number)
    )
    wanted, ids = [requests[i] for i in ordered], _new_ids(len(ordered))
    rows = database.call(
        START,
        job_ids=ids,
        places=ordered,
        clients=[request.client for request in wanted],
        process_numbers=[request.process_number for request in wanted],
        states=[request.first_state for request in wanted],
        priorities=[request.priority for request in wanted],
        max_ages_s=[request.max_age_s for request in wanted],
        traceparents=[request.traceparent for request in wanted],
        limits=[request.jobs_at_once for request in wanted],
        urls=[request.webhook_url for request in wanted],
        receivers=[receiver_of(r.webhook_url) if r.webhook_url else None for r in wanted],
        request_ids=[request.request_id for request in wanted],
        payloads=[request.payload_sha256 if request.request_id else None for request in wanted],
        deadline_s=job_deadline_s,
    )
    made = {row["job_id"]: row for row in rows}
    views: list[JobView | None] = [None] * len(requests)
    for place, job_id in zip(ordered, ids, strict=True):
        if job_id in made:
            hooks = _webhooks(job_id, requests[place])
            views[place] = JobView(JobRecord.of(made[job_id]), hooks)
    return views


def _new_ids(count: int) -> list[UUID]:
    # As uuid4, which gives the interpreter's lock away for each.
    drawn = os.urandom(16 * count)
    return [UUID(bytes=drawn[i : i + 16], version=4) for i in range(0, len(drawn), 16)]


def _webhooks(job_id: UUID, request: StartRequest) -> tuple[WebhookRecord, ...]:
    """Those of a new job."""
    if request.webhook_url is None:
        return ()
    return (
        WebhookRecord(
            job_id=job_id,
            position=0,
            url=request.webhook_url,
            state=WebhookState.WAITING,
            webhook_id=None,
            attempt_count=0,
            last_status_code=0,
            last_error="",
            delivered_time=None,
            next_attempt_time=None,
            attempts=(),
        ),
    )
