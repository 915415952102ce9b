"""The steps of a document that goes well, each as one function inside PostgreSQL.

What goes another way - listings, probes, failures, a job's end - is left to the modules whose
statements these are made of: a step says so and has changed nothing.
"""

from __future__ import annotations

from storage import courts, pauses, slots, turns
from storage.database import in_list
from storage.functions import Function
from storage.states import IN_LANE, DocumentState, sources_of

# How often a choice may be overtaken by others before this caller leaves it to them.
TRIES = 20


def lock_key(key: str, mode: str = "") -> str:
    """SQL for the lock on an object's key: shared by who stores it, alone for who sweeps it."""
    return f"pg_advisory_xact_lock{mode}(hashtextextended({key}, 0))"


# What is due again goes before what is fresh.
CLAIM = f"""
UPDATE documents SET state = '{DocumentState.DOWNLOADING}', revision = %(revision)s,
    lease = %(lease)s, spool_id = %(spool_id)s, not_before = NULL,
    lease_until = clock_timestamp() + %(lease_s)s * interval '1 second'
WHERE job_id = %(job_id)s AND document_id = coalesce((
    SELECT document_id FROM documents
    WHERE job_id = %(job_id)s AND state = '{DocumentState.PENDING}'
        AND not_before <= statement_timestamp()
    ORDER BY not_before LIMIT 1 FOR UPDATE SKIP LOCKED), (
    SELECT document_id FROM documents
    WHERE job_id = %(job_id)s AND state = '{DocumentState.PENDING}' AND not_before IS NULL
    ORDER BY position LIMIT 1 FOR UPDATE SKIP LOCKED))
AND %(lanes)s > (
    SELECT count(*) FROM documents
    WHERE job_id = %(job_id)s AND state IN ({in_list(sorted(IN_LANE))}))
RETURNING *
"""

ADVANCE = (
    "UPDATE jobs SET revision = revision + 1, update_time = clock_timestamp(){more}"
    " WHERE job_id = %(job_id)s AND end_time IS NULL"
)

TAKEN_LANES = (
    "SELECT count(*) FROM documents WHERE job_id = %(job_id)s"
    f" AND state IN ({in_list(sorted(IN_LANE))})"
)


def _with(statement: str, **variables: str) -> str:
    """A statement with variables of its function in place of some values."""
    for name, variable in variables.items():
        statement = statement.replace(f"%({name})s", variable)
    return statement


_CHOSEN = {
    "job_id": "chosen.job_id",
    "court": "chosen.court",
    "client": "chosen.client",
    "is_bulk": "chosen.is_bulk",
    "job_pass": "chosen.job_pass",
    "jobs_at": "chosen.jobs_at",
    "client_pass": "chosen.client_pass",
    "served_at": "chosen.served_at",
    "cost_s": "chosen.cost_s",
}
_PORTAL = f"'{slots.PORTAL}'"
_TAKE = (
    _with(slots.TAKE, portal=_PORTAL, court="chosen.court", at_once="most", lease="token")
    + "; GET DIAGNOSTICS taken = ROW_COUNT"
)
# The first request of a court, or of a greater limit, finds no rows.
_LAY_OUT = "; ".join(
    (
        _with(slots.LAY_OUT, scope=_PORTAL, count="most"),
        _with(slots.LAY_OUT, scope="chosen.court", count="%(per_court)s"),
    )
)

_CLAIM = _with(CLAIM, lease="token", job_id="job.job_id", revision="(job.revision + 1)")

NEXT = Function(
    "autos_next",
    {
        "leases": "uuid[]",
        "at_once": "integer",
        "per_court": "integer",
        "per_minute": "integer",
        "lanes": "integer",
        "patience_s": "double precision",
        "login_key": "text",
        "fingerprint": "text",
        "spool_id": "uuid",
        "lease_s": "double precision",
    },
    {
        # Null: something may be asked, or might, but not in this way.
        "lease": "uuid",
        "job_id": "uuid",
        "revision": "bigint",
        "process_number": "text",
        "document_id": "uuid",
        "name": "text",
        "href": "text",
        "listed_size_bytes": "bigint",
        "listed_content_type": "text",
        "traceparent": "text",
    },
    f"""
DECLARE
    chosen record; job record; document record; most integer; taken integer; token uuid;
    done integer := 0; busy uuid[] := '{{}}';
BEGIN
    PERFORM {turns.IN_TURN};
    FOR i IN 1..{TRIES} + cardinality(%(leases)s) LOOP
        IF done = cardinality(%(leases)s) THEN RETURN; END IF;
        {_with(turns.CHOOSE, passed_over="busy")} INTO chosen;
        IF NOT FOUND AND busy = '{{}}' THEN RETURN; END IF;
        IF NOT FOUND OR chosen.needs_listing OR chosen.is_probe THEN EXIT; END IF;
        -- A job whose row is locked must not hold up the others.
        SELECT * FROM jobs WHERE job_id = chosen.job_id AND end_time IS NULL
            FOR UPDATE SKIP LOCKED INTO job;
        IF NOT FOUND THEN busy := busy || chosen.job_id; CONTINUE; END IF;
        token := %(leases)s[done + 1];
        most := chosen.at_once;
        {_TAKE};
        IF taken <> 2 THEN {_LAY_OUT}; {_TAKE}; END IF;
        IF taken <> 2 THEN CONTINUE; END IF;
        {_CLAIM} INTO document;
        IF NOT FOUND THEN {_with(slots.FREE_ALL, lease="token")}; CONTINUE; END IF;
        {_with(ADVANCE.format(more=""), job_id="job.job_id")};
        {_with(turns.CHARGE, **_CHOSEN)};
        done := done + 1;
        lease := token; job_id := job.job_id; revision := job.revision + 1;
        process_number := job.process_number; document_id := document.document_id;
        name := document.name; href := document.hrefs[document.href_index + 1];
        listed_size_bytes := document.listed_size_bytes;
        listed_content_type := document.listed_content_type; traceparent := job.traceparent;
        RETURN NEXT;
    END LOOP;
    lease := NULL; revision := NULL;
    RETURN NEXT;
END""",
)

AVAILABLE = (
    "lease = NULL, lease_until = NULL, spool_id = NULL, object_key = %(object_key)s,"
    " error_reason = NULL, error_message = NULL, error_is_retryable = NULL"
)
NOT_SWEPT = (
    "NOT EXISTS (SELECT FROM swept_objects"
    " WHERE object_key = %(object_key)s AND sweep_time >= %(take_time)s)"
)
COUNTED = (
    ", completed_documents = completed_documents + 1, stored_bytes = stored_bytes + %(size_bytes)s"
)
_HELD = {"job_id": "uuid", "document_id": "uuid", "lease": "uuid"}
_MOVED = (
    "WHERE job_id = %(job_id)s AND document_id = %(document_id)s AND lease = %(lease)s"
    " AND state IN ({sources})"
)
_LOCK = """
    SELECT * FROM jobs WHERE job_id = %(job_id)s AND end_time IS NULL FOR UPDATE INTO job;
    IF NOT FOUND THEN RETURN; END IF;
"""

SPOOLED = Function(
    "autos_spooled",
    {
        **_HELD,
        "size_bytes": "bigint",
        "sha256": "text",
        "content_type": "text",
        "extension": "text",
    },
    {"job_id": "uuid", "revision": "bigint", "was_away": "boolean", "has_grown": "boolean"},
    f"""
DECLARE job record;
BEGIN
    {_LOCK}
    UPDATE documents SET state = '{DocumentState.DOWNLOADED}', revision = job.revision + 1,
        lease_until = NULL, attempt_count = attempt_count + 1, pause_count = 0,
        failing_since = NULL, size_bytes = %(size_bytes)s, sha256 = %(sha256)s,
        content_type = %(content_type)s, extension = %(extension)s
        {_MOVED.format(sources=in_list(sources_of(DocumentState.DOWNLOADED)))};
    IF NOT FOUND THEN RETURN; END IF;
    {ADVANCE.format(more=", files_failing_since = NULL")};
    {_with(courts.ALIVE, court="job.court")} INTO was_away;
    {slots.FREE_ALL};
    {pauses.EASE} INTO has_grown;
    job_id := job.job_id; revision := job.revision + 1;
    RETURN NEXT;
END""",
)

TAKEN = {
    **_HELD,
    "client": "text",
    "process_number": "text",
    "name": "text",
    "size_bytes": "bigint",
    "sha256": "text",
    "content_type": "text",
    "extension": "text",
    "pause_count": "integer",
    "take_time": "timestamptz",
    "traceparent": "text",
}
TAKEN_COLUMNS = (
    "documents.job_id, document_id, documents.lease, jobs.client, jobs.process_number, name,"
    " size_bytes, sha256, content_type, extension, pause_count, clock_timestamp(), jobs.traceparent"
)
WAITS = (
    f"documents.state = '{DocumentState.DOWNLOADED}'"
    " AND (lease_until IS NULL OR lease_until < clock_timestamp())"
)

TAKE_UPLOAD = Function(
    "autos_take_upload",
    {**_HELD, "lease_s": "double precision"},
    TAKEN,
    f"""
BEGIN
    RETURN QUERY UPDATE documents
    SET lease_until = clock_timestamp() + %(lease_s)s * interval '1 second'
    FROM jobs WHERE jobs.job_id = documents.job_id AND documents.job_id = %(job_id)s
        AND document_id = %(document_id)s AND lease = %(lease)s AND {WAITS}
    RETURNING {TAKEN_COLUMNS};
END""",
)

# The file of one lease if it waits, else any that waits in the spool.
NEXT_UPLOAD = Function(
    "autos_next_upload",
    {"spool_id": "uuid", "woken_by": "uuid", "lease_s": "double precision"},
    {**TAKEN, "is_owned": "boolean"},
    f"""
DECLARE token uuid;
BEGIN
    SELECT documents.lease FROM documents WHERE documents.lease = %(woken_by)s AND {WAITS}
        FOR UPDATE SKIP LOCKED INTO token;
    IF NOT FOUND THEN
        SELECT documents.lease FROM documents WHERE documents.spool_id = %(spool_id)s AND {WAITS}
            LIMIT 1 FOR UPDATE SKIP LOCKED INTO token;
    END IF;
    is_owned := EXISTS (SELECT FROM documents WHERE documents.lease = %(woken_by)s);
    IF token IS NULL THEN RETURN NEXT; RETURN; END IF;
    RETURN QUERY UPDATE documents
    SET lease_until = clock_timestamp() + %(lease_s)s * interval '1 second'
    FROM jobs WHERE jobs.job_id = documents.job_id AND documents.lease = token
    RETURNING {TAKEN_COLUMNS}, is_owned;
END""",
)

STORED = Function(
    "autos_stored",
    {
        **_HELD,
        "size_bytes": "bigint",
        "object_key": "text",
        "take_time": "timestamptz",
        "lanes": "integer",
    },
    {"job_id": "uuid", "revision": "bigint", "is_last": "boolean", "lane_is_free": "boolean"},
    f"""
DECLARE job record; taken bigint;
BEGIN
    {_LOCK}
    is_last := job.completed_documents + job.failed_documents + job.cancelled_documents + 1
        >= job.total_documents;
    IF is_last THEN RETURN NEXT; RETURN; END IF;
    -- Taken here, so that the next statement sees what a sweep has noted before it.
    PERFORM {lock_key("%(object_key)s", "_shared")};
    UPDATE documents SET state = '{DocumentState.AVAILABLE}', revision = job.revision + 1,
        {AVAILABLE}
        {_MOVED.format(sources=in_list(sources_of(DocumentState.AVAILABLE)))} AND {NOT_SWEPT};
    IF NOT FOUND THEN RETURN; END IF;
    {ADVANCE.format(more=COUNTED)};
    -- Counted in a statement of its own: only one that begins under the job's lock sees all.
    {TAKEN_LANES} INTO taken;
    job_id := job.job_id; revision := job.revision + 1;
    lane_is_free := taken >= %(lanes)s - 1;
    RETURN NEXT;
END""",
)

ALL = (NEXT, SPOOLED, TAKE_UPLOAD, NEXT_UPLOAD, STORED)
