"""The steps of documents that go well, each as one function inside PostgreSQL, for many at once.

What goes another way - listings, probes, failures, a job's end - is left to the modules whose
statements these are made of: a step says so and has changed nothing. Many at once, because what a
statement costs beside its rows (its plan, the table's constraints, the commit) is most of it.

A session plans these once, perhaps while the tables are empty, and keeps the plans for long. So a
row is looked up by what only one index can find it by: wherever PostgreSQL has a choice, it takes
one for small tables, which walks through a whole job.
"""

from __future__ import annotations

from storage import listing_claims, reuse, slots, turns
from storage.database import in_list
from storage.functions import Function, with_variables
from storage.states import IN_LANE, DocumentState

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

ALL = (NEXT,)
