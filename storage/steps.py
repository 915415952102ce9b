"""The steps of documents that go well, each as one function inside PostgreSQL, for many at once.

What goes another way - listings, probes, failures, a job's end - is left to the modules whose
statements these are made of: a step says so and has changed nothing. Many at once, because what a
statement costs beside its rows (its plan, the table's constraints, the commit) is most of it.

A session plans these once, perhaps while the tables are empty, and keeps the plans for long. So a
row is looked up by what only one index can find it by: wherever PostgreSQL has a choice, it takes
one for small tables, which walks through a whole job.
"""

from __future__ import annotations

from storage import courts, listing_claims, pauses, reuse, slots, sql, turns
from storage.database import in_list
from storage.functions import Function, with_variables
from storage.spool import NOWHERE
from storage.states import IN_LANE, DocumentState, sources_of

# How often a choice may be overtaken by others before this caller leaves it to them.
TRIES = 20
# How often, and for how long, whoever works on the rows of all that could be chosen is waited for.
WAITS, WAIT_S = 10, 0.002
# How much of the portal's time a job may have in one turn, unless a request takes longer.
SLICE_S = 0.1


def lock_key(key: str, mode: str = "") -> str:
    """SQL for the lock on an object's key: shared by who stores it, alone for who sweeps it."""
    return f"pg_advisory_xact_lock{mode}(hashtextextended({key}, 0))"


TAKEN_LANES = (
    "SELECT count(*) FROM documents WHERE job_id = %(job_id)s"
    f" AND state IN ({in_list(sorted(IN_LANE))})"
)

# As many as there are leases, ready documents and free lanes. What is due again goes before what
# is fresh.
CLAIM = f"""
WITH picked AS MATERIALIZED (
    SELECT place, row_number() OVER () AS number FROM (
        SELECT place FROM (
            SELECT ctid AS place FROM documents
            WHERE job_id = %(job_id)s AND state = '{DocumentState.PENDING}'
                AND not_before <= statement_timestamp()
            ORDER BY not_before LIMIT cardinality(%(leases)s) FOR UPDATE SKIP LOCKED) AS due
        UNION ALL SELECT place FROM (
            SELECT ctid AS place FROM documents
            WHERE job_id = %(job_id)s AND state = '{DocumentState.PENDING}' AND not_before IS NULL
            ORDER BY position LIMIT cardinality(%(leases)s) FOR UPDATE SKIP LOCKED) AS fresh
        LIMIT greatest(0, least(cardinality(%(leases)s), %(lanes)s - ({TAKEN_LANES})))) AS ready)
UPDATE documents SET state = '{DocumentState.DOWNLOADING}', revision = %(revision)s + number,
    lease = (%(leases)s)[number], spool_id = %(spool_id)s, not_before = NULL,
    lease_until = clock_timestamp() + %(lease_s)s * interval '1 second'
FROM picked WHERE documents.ctid = place AND documents.state = '{DocumentState.PENDING}'
"""

ADVANCE = (
    "UPDATE jobs SET revision = revision + %(by)s, update_time = clock_timestamp()"
    " WHERE job_id = %(job_id)s AND end_time IS NULL"
)


_CHOSEN = {
    "job_id": "chosen.job_id",
    "court": "chosen.court",
    "client": "chosen.client",
    "is_bulk": "chosen.is_bulk",
    "job_pass": "chosen.job_pass",
    "jobs_at": "chosen.jobs_at",
    "client_pass": "chosen.client_pass",
    "served_at": "chosen.served_at",
    "cost_s": "(claimed * chosen.cost_s)",
}
_PORTAL = f"'{slots.PORTAL}'"
_TAKE = (
    with_variables(
        slots.TAKE, portal=_PORTAL, court="chosen.court", at_once="most", leases="tokens"
    )
    + "; GET DIAGNOSTICS taken = ROW_COUNT; taken := taken / 2"
)
# The first request of a court, or of a greater limit, finds no rows.
_LAY_OUT = "; ".join(
    (
        with_variables(slots.LAY_OUT, scope=_PORTAL, count="most"),
        with_variables(slots.LAY_OUT, scope="chosen.court", count="%(per_court)s"),
    )
)
_CLAIM = with_variables(
    CLAIM, leases="(tokens[1:taken])", job_id="job.job_id", revision="job.revision"
)
_SERVED = f"{with_variables(reuse.SERVING, job_id='job.job_id')} UNION ALL " + (
    f"SELECT job_id FROM jobs WHERE job_id = job.job_id AND {turns.IS_ASKED_FOR_ANOTHER}"
)
_CLAIM_LISTING = with_variables(
    listing_claims.CLAIM, job_id="job.job_id", lease="tokens[1]", listed_by="NULL"
)

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
        # Null in the last row, if there is more to be asked, or might be; perhaps in another way.
        "lease": "uuid",
        "job_id": "uuid",
        "revision": "bigint",
        "process_number": "text",
        "document_id": "uuid",
        "name": "text",
        "href": "text",
        "listed_size_bytes": "bigint",
        "listed_content_type": "text",
        "claim_time": "timestamptz",
        # Whether slots were left, so that nobody waits for those of this one.
        "is_relaxed": "boolean",
        "traceparent": "text",
        "client": "text",
        # Of a job whose case is to be listed, which has no document yet.
        "is_doubted": "boolean",
        "has_history": "boolean",
    },
    f"""
DECLARE
    chosen record; job record; most integer; wanted integer; tokens uuid[]; taken integer;
    claimed integer; is_ours boolean;
    done integer := 0; waits integer := 0; busy uuid[] := '{{}}';
BEGIN
    PERFORM {turns.IN_TURN};
    FOR i IN 1..{TRIES} + {WAITS} + cardinality(%(leases)s) LOOP
        {with_variables(turns.CHOOSE, passed_over="busy")} INTO chosen;
        IF NOT FOUND AND busy = '{{}}' THEN RETURN; END IF;
        IF done = cardinality(%(leases)s) THEN EXIT; END IF;
        -- Not while it holds rows of its own, for which somebody may wait who holds those.
        IF NOT FOUND AND done = 0 AND waits < {WAITS} THEN
            waits := waits + 1; busy := '{{}}'; PERFORM pg_sleep({WAIT_S}); CONTINUE;
        END IF;
        IF NOT FOUND OR chosen.is_probe THEN EXIT; END IF;
        -- A job whose row is locked must not hold up the others.
        SELECT * FROM jobs WHERE job_id = chosen.job_id AND end_time IS NULL
            FOR UPDATE SKIP LOCKED INTO job;
        IF NOT FOUND THEN busy := busy || chosen.job_id; CONTINUE; END IF;
        wanted := least(chosen.free_lanes, chosen.room,
            greatest(1, floor({SLICE_S} / greatest(chosen.cost_s, 0.001))));
        IF chosen.needs_listing THEN
            -- Another one's listing may serve it, or its worker was lost.
            IF job.listing_lease IS NOT NULL THEN EXIT; END IF;
            SELECT {listing_claims.TRY_LOCK_CASE} FROM jobs WHERE job_id = job.job_id
                INTO is_ours;
            -- Only a statement that begins under the lock sees what was claimed before.
            IF NOT is_ours OR EXISTS ({_SERVED}) THEN EXIT; END IF;
            wanted := 1;
        END IF;
        most := chosen.at_once;
        tokens := (%(leases)s)[done + 1 : done + wanted];
        {_TAKE};
        IF taken = 0 THEN {_LAY_OUT}; {_TAKE}; END IF;
        IF taken = 0 THEN CONTINUE; END IF;
        IF chosen.needs_listing THEN
            RETURN QUERY {_CLAIM_LISTING}
                RETURNING jobs.listing_lease, jobs.job_id, jobs.revision, jobs.process_number,
                    NULL::uuid, NULL, NULL, NULL::bigint, NULL, NULL::timestamptz,
                    NULL::boolean, jobs.traceparent, jobs.client,
                    jobs.listing_doubt_time IS NOT NULL, {listing_claims.HAS_HISTORY};
        ELSE
            RETURN QUERY {_CLAIM}
                RETURNING documents.lease, job.job_id, documents.revision, job.process_number,
                    documents.document_id, documents.name, hrefs[href_index + 1],
                    documents.listed_size_bytes, documents.listed_content_type,
                    clock_timestamp(), chosen.free_slots > taken, job.traceparent, job.client,
                    NULL::boolean, NULL::boolean;
        END IF;
        GET DIAGNOSTICS claimed = ROW_COUNT;
        IF claimed < taken THEN
            {with_variables(slots.FREE_ALL, leases="(tokens[claimed + 1 : taken])")};
        END IF;
        IF claimed = 0 THEN CONTINUE; END IF;
        IF NOT chosen.needs_listing THEN
            {with_variables(ADVANCE, job_id="job.job_id", by="claimed")};
        END IF;
        {with_variables(turns.CHARGE, **_CHOSEN)};
        done := done + claimed;
    END LOOP;
    lease := NULL; revision := NULL;
    RETURN NEXT;
END""",
)

_HELD = {"job_ids": "uuid[]", "document_ids": "uuid[]", "leases": "uuid[]"}
_CONTENTS = {
    "sizes_bytes": "bigint[]",
    "sha256s": "text[]",
    "content_types": "text[]",
    "extensions": "text[]",
}
# What somebody does not let go of must not hold up the documents of others for long.
_WAITING = "PERFORM set_config('lock_timeout', '250ms', true);"
# Whoever locks several jobs locks them in one order.
_LOCK = f"""
    {_WAITING}
    PERFORM FROM (SELECT DISTINCT unnest(%(job_ids)s) AS job_id ORDER BY 1) AS theirs
        CROSS JOIN LATERAL (SELECT FROM jobs
            WHERE jobs.job_id = theirs.job_id AND end_time IS NULL FOR UPDATE) AS locked;
"""


def _told(**columns: str) -> str:
    """SQL for what a step is told, one row a document."""
    given = {"job_id": "job_ids", "document_id": "document_ids", "lease": "leases", **columns}
    values = ", ".join(f"%({argument})s" for argument in given.values())
    return f"SELECT * FROM unnest({values}) AS told({', '.join(given)})"


def _moved(
    told: str, to: DocumentState, assignments: str, *, more: str = "", unless: str = "false"
) -> str:
    """CTEs: what is `held` of it under the lock of its job, numbered; what is `moved` of that.

    `more`: further columns of `held`. `unless`: a condition on `held` that leaves it as it is.
    """
    sources = in_list(sources_of(to))
    return f"""
    told AS MATERIALIZED ({told}),
    numbered AS (
        SELECT told.*, jobs.revision AS job_revision, jobs.court,
            document.state = '{DocumentState.DOWNLOADING}' AS is_fresh,
            row_number() OVER (PARTITION BY told.job_id) AS number {more}
        FROM told JOIN jobs ON jobs.job_id = told.job_id AND end_time IS NULL
        CROSS JOIN LATERAL (
            SELECT job_id, document_id, state FROM documents
            WHERE documents.lease = told.lease LIMIT 1) AS document
        WHERE document.job_id = told.job_id AND document.document_id = told.document_id
            AND document.state IN ({sources})),
    held AS MATERIALIZED (SELECT *, job_revision + number AS next_revision FROM numbered),
    moved AS (
        UPDATE documents SET state = '{to}', revision = held.next_revision, {assignments}
        FROM held WHERE documents.lease = held.lease AND documents.state IN ({sources})
            AND NOT ({unless})
        RETURNING held.*)"""


# What is known of a file, once it is fetched.
_CONTENT = (
    "size_bytes = {file}.size_bytes, sha256 = {file}.sha256,"
    " content_type = {file}.content_type, extension = {file}.extension"
)
_TOLD_CONTENTS = {
    "size_bytes": "sizes_bytes",
    "sha256": "sha256s",
    "content_type": "content_types",
    "extension": "extensions",
}
# What a good answer means for its court and its slots; `fresh` are those that have just been given.
_ANSWERED = f"""
        alive AS ({with_variables(courts.ALIVE, answers="(SELECT lease, court FROM fresh)")}),
        freed AS (UPDATE slots SET {slots.UNTAKEN} FROM fresh WHERE slots.lease = fresh.lease)"""
# And for how much may be asked at once, after so many `answers`.
_EASED = f"""
    growth := 0;
    FOR i IN 1..answers LOOP
        {pauses.EASE} INTO has_grown;
        EXIT WHEN NOT FOUND;
        growth := growth + has_grown::integer;
    END LOOP;"""

SPOOLED = Function(
    "autos_spooled",
    {
        **_HELD,
        **_CONTENTS,
        # Whether whoever fetched it has it in memory and puts it, leased for that.
        "are_taken": "boolean[]",
        "lease_s": "double precision",
    },
    {
        # Null in the last row, which tells what it means for others.
        "lease": "uuid",
        "job_id": "uuid",
        "revision": "bigint",
        "take_time": "timestamptz",
        "was_away": "boolean",
        "growth": "integer",
    },
    f"""
DECLARE answers integer := 0; was boolean := false; has_grown boolean;
BEGIN
    {_LOCK}
    FOR lease, job_id, revision, take_time, was_away IN
        WITH {
        _moved(
            _told(**_TOLD_CONTENTS, is_taken="are_taken"),
            DocumentState.DOWNLOADED,
            "lease_until = CASE WHEN held.is_taken"
            " THEN clock_timestamp() + %(lease_s)s * interval '1 second' END,"
            f" spool_id = CASE WHEN held.is_taken THEN '{NOWHERE}' ELSE spool_id END,"
            " attempt_count = attempt_count + 1, pause_count = 0, failing_since = NULL, "
            + _CONTENT.format(file="held"),
        )
    }, advanced AS (
            UPDATE jobs SET revision = last, update_time = clock_timestamp(),
                files_failing_since = NULL
            FROM (SELECT moved.job_id, max(next_revision) AS last FROM moved
                  GROUP BY moved.job_id) AS theirs
            WHERE jobs.job_id = theirs.job_id),
        fresh AS (SELECT * FROM moved), {_ANSWERED}
        SELECT moved.lease, moved.job_id, next_revision, clock_timestamp(),
            coalesce(alive.was_away, false)
        FROM moved LEFT JOIN alive USING (court)
    LOOP
        answers := answers + 1; was := was OR was_away;
        RETURN NEXT;
    END LOOP;
    {_EASED}
    lease := NULL; job_id := NULL; revision := NULL; take_time := NULL; was_away := was;
    RETURN NEXT;
END""",
)

AVAILABLE = (
    "lease = NULL, lease_until = NULL, spool_id = NULL, object_key = {object_key},"
    " error_reason = NULL, error_message = NULL, error_is_retryable = NULL,"
    " attempt_count = attempt_count + ({is_fresh})::integer,"
    " pause_count = CASE WHEN {is_fresh} THEN 0 ELSE pause_count END,"
    " failing_since = CASE WHEN {is_fresh} THEN NULL ELSE failing_since END"
)
NOT_SWEPT = (
    "NOT EXISTS (SELECT FROM swept_objects"
    " WHERE swept_objects.object_key = {object_key} AND sweep_time >= {take_time})"
)

WAITS_FOR_UPLOAD = (
    f"state = '{DocumentState.DOWNLOADED}'"
    " AND (lease_until IS NULL OR lease_until < clock_timestamp())"
)

# The files of some leases if they wait, then any that wait in the spool.
NEXT_UPLOADS = Function(
    "autos_next_uploads",
    {
        "spool_id": "uuid",
        "woken_by": "uuid[]",
        "most": "integer",
        "lease_s": "double precision",
    },
    {
        # Without a document: there is a row for a file of `woken_by`, but it does not wait; or,
        # null, more files wait.
        "lease": "uuid",
        "document_id": "uuid",
        "job_id": "uuid",
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
    },
    f"""
DECLARE tokens uuid[];
BEGIN
    -- Nobody is told of a lease, and one that a crash takes back is taken again.
    PERFORM set_config('synchronous_commit', 'off', true);
    tokens := ARRAY(SELECT theirs.lease FROM (SELECT DISTINCT unnest(%(woken_by)s)) AS woken(lease)
        CROSS JOIN LATERAL (SELECT documents.lease FROM documents
            WHERE documents.lease = woken.lease AND {WAITS_FOR_UPLOAD}
            LIMIT 1 FOR UPDATE SKIP LOCKED) AS theirs
        LIMIT %(most)s + 1);
    IF cardinality(tokens) <= %(most)s THEN
        tokens := tokens || ARRAY(SELECT documents.lease FROM documents
            WHERE documents.spool_id = %(spool_id)s AND {WAITS_FOR_UPLOAD}
                AND documents.lease <> ALL(tokens)
            LIMIT %(most)s + 1 - cardinality(tokens) FOR UPDATE SKIP LOCKED);
    END IF;
    IF cardinality(tokens) > %(most)s THEN
        lease := NULL;
        RETURN NEXT;
        tokens := tokens[1:%(most)s];
    END IF;
    IF tokens = '{{}}' THEN RETURN; END IF;
    RETURN QUERY UPDATE documents
    SET lease_until = clock_timestamp() + %(lease_s)s * interval '1 second'
    FROM (SELECT unnest(tokens) AS lease LIMIT %(most)s) AS taken, jobs
    WHERE documents.lease = taken.lease AND jobs.job_id = documents.job_id
    RETURNING documents.lease, documents.document_id, documents.job_id, jobs.client,
        jobs.process_number, documents.name, documents.size_bytes, documents.sha256,
        documents.content_type, documents.extension, documents.pause_count, clock_timestamp(),
        jobs.traceparent;
END""",
)

# Files that the bucket holds: those that lay in the spool, and fresh ones, of which the rows were
# not told that they were fetched. Sweeps are looked up once for each file, `is_there`, in whatever
# order PostgreSQL joins the rest.
STORED = Function(
    "autos_stored",
    {
        **_HELD,
        **_CONTENTS,
        "object_keys": "text[]",
        "take_times": "timestamptz[]",
        "lanes": "integer",
    },
    {
        # Null in the last rows: of what jobs so many lanes more are free than were; and, without a
        # job, what the fresh ones mean for others.
        "lease": "uuid",
        "job_id": "uuid",
        # Null: the last one of its job, which is not recorded in this way.
        "revision": "bigint",
        "freed_lanes": "bigint",
        "was_away": "boolean",
        "growth": "integer",
    },
    f"""
DECLARE
    ours uuid[] := '{{}}'; is_answer boolean; answers integer := 0; was boolean := false;
    has_grown boolean;
BEGIN
    {_LOCK}
    -- Taken here, so that the next statement sees what a sweep has noted before it.
    PERFORM {lock_key("key", "_shared")} FROM
        (SELECT unnest(%(object_keys)s) AS key ORDER BY 1) AS sorted;
    FOR lease, job_id, revision, is_answer, was_away IN
        WITH {
        _moved(
            _told(**_TOLD_CONTENTS, object_key="object_keys", take_time="take_times"),
            DocumentState.AVAILABLE,
            AVAILABLE.format(object_key="held.object_key", is_fresh="held.is_fresh")
            + ", "
            + _CONTENT.format(file="held"),
            more=", completed_documents + failed_documents + cancelled_documents AS ended,"
            " total_documents, "
            + NOT_SWEPT.format(object_key="told.object_key", take_time="told.take_time")
            + " AS is_there",
            unless="held.ended + held.number >= held.total_documents OR NOT held.is_there",
        )
    }, advanced AS (
            UPDATE jobs SET revision = last, update_time = clock_timestamp(),
                completed_documents = completed_documents + documents,
                stored_bytes = stored_bytes + bytes,
                files_failing_since = CASE WHEN are_fresh THEN NULL ELSE files_failing_since END
            FROM (SELECT moved.job_id, max(next_revision) AS last, count(*) AS documents,
                      sum(size_bytes) AS bytes, bool_or(is_fresh) AS are_fresh
                  FROM moved GROUP BY moved.job_id) AS theirs
            WHERE jobs.job_id = theirs.job_id),
        fresh AS (SELECT * FROM moved WHERE is_fresh), {_ANSWERED}
        SELECT moved.lease, moved.job_id, next_revision, is_fresh, coalesce(alive.was_away, false)
        FROM moved LEFT JOIN alive USING (court)
        UNION ALL SELECT held.lease, held.job_id, NULL, false, false FROM held
            WHERE ended + number >= total_documents
    LOOP
        IF revision IS NOT NULL THEN ours := ours || job_id; END IF;
        answers := answers + is_answer::integer; was := was OR was_away;
        RETURN NEXT;
    END LOOP;
    -- Counted in a statement of its own: only one that begins under the jobs' locks sees all.
    RETURN QUERY SELECT NULL::uuid, theirs.job_id, NULL::bigint, theirs.stored, false, 0
        FROM (SELECT job_id, count(*) AS stored, ({
        with_variables(TAKEN_LANES, job_id="each.job_id")
    })
              AS taken FROM unnest(ours) AS each(job_id) GROUP BY each.job_id) AS theirs
        WHERE taken + theirs.stored >= %(lanes)s;
    {_EASED}
    lease := NULL; job_id := NULL; revision := NULL; was_away := was;
    RETURN NEXT;
END""",
)

# The last document of a job that has all of them then; without a row nothing was done, since it is
# no longer ours, or the job ends in another way.
COMPLETED = Function(
    "autos_completed",
    {
        "job_id": "uuid",
        "document_id": "uuid",
        "lease": "uuid",
        "size_bytes": "bigint",
        "sha256": "text",
        "content_type": "text",
        "extension": "text",
        "object_key": "text",
        "take_time": "timestamptz",
    },
    {
        "job_id": "uuid",
        "revision": "bigint",
        "due_webhooks": "integer[]",
        "was_away": "boolean",
        "growth": "integer",
    },
    f"""
DECLARE
    job record; answer record;
    answers integer; has_grown boolean;
BEGIN
    {_WAITING}
    SELECT * FROM jobs WHERE job_id = %(job_id)s AND end_time IS NULL FOR UPDATE INTO job;
    IF NOT FOUND OR job.completed_documents + 1 <> job.total_documents THEN RETURN; END IF;
    -- Taken here, so that the next statement sees what a sweep has noted before it.
    PERFORM {lock_key("%(object_key)s", "_shared")};
    UPDATE documents SET state = '{DocumentState.AVAILABLE}', revision = job.revision + 1,
        {AVAILABLE.format(object_key="%(object_key)s", is_fresh="was.is_fresh")},
        {_CONTENT.format(file="was")}
    FROM (SELECT lease, state = '{DocumentState.DOWNLOADING}' AS is_fresh,
              %(size_bytes)s AS size_bytes, %(sha256)s AS sha256,
              %(content_type)s AS content_type, %(extension)s AS extension
          FROM documents WHERE lease = %(lease)s FOR UPDATE) AS was
    WHERE documents.lease = was.lease
        AND job_id = %(job_id)s AND document_id = %(document_id)s
        AND state IN ({in_list(sources_of(DocumentState.AVAILABLE))})
        AND {NOT_SWEPT.format(object_key="%(object_key)s", take_time="%(take_time)s")}
    RETURNING is_fresh::integer INTO answers;
    IF NOT FOUND THEN RETURN; END IF;
    IF answers > 0 THEN
        {with_variables(courts.ALIVE, answers="(SELECT %(lease)s AS lease, job.court AS court)")}
            INTO answer;
        {with_variables(slots.FREE_ALL, leases="ARRAY[%(lease)s]")};
        was_away := coalesce(answer.was_away, false);
    END IF;
    {_EASED}
    UPDATE jobs SET revision = revision + 1, completed_documents = completed_documents + 1,
        stored_bytes = stored_bytes + %(size_bytes)s WHERE job_id = %(job_id)s;
    SELECT * FROM {sql.function("end_job").name}(%(job_id)s, NULL, NULL, NULL, NULL) INTO job;
    job_id := %(job_id)s; revision := job.revision; due_webhooks := job.due_webhooks;
    RETURN NEXT;
END""",
)

ALL = (NEXT, SPOOLED, NEXT_UPLOADS, STORED, COMPLETED)
