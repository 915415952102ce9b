"""Whose turn it is at the portal: one rule over all jobs of all clients.

Time at the portal is shared by client, then by job: next is the client that has had least, and
of its jobs the one that has had least for its weight. BULK jobs come after all others. Whoever
comes, or comes back after waiting for something else, begins where the others are: nobody is owed
for the past, and nobody starves. (Start-time fair queueing: Goyal, Vin and Cheng, 1996.)
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from storage import sql
from storage.database import Row, Transaction, in_list
from storage.logins import IS_REFUSED, Login
from storage.slots import PORTAL, Limits
from storage.states import IN_LANE

WEIGHTS = {"HIGH": 4, "NORMAL": 1, "BULK": 1}
# What a request of a court costs that none has been measured of, in seconds.
UNMEASURED_S = 0.5


def enter(transaction: Transaction, *job_ids: UUID) -> None:
    """Has running jobs wait for their turns, each behind the others of its client."""
    transaction.all(sql.function("enter_turns").call, job_ids=list(job_ids))


LEAVE = "DELETE FROM turns WHERE job_id = %(job_id)s"


def leave(transaction: Transaction, job_id: UUID) -> None:
    """Takes an ended job out of the queue."""
    transaction.run(LEAVE, job_id=job_id)


_DOOR = f"""
door AS (
    SELECT least(%(at_once)s, floor(eased)) AS at_once FROM portal
    WHERE paused_until <= clock_timestamp()
        AND (%(per_minute)s::integer IS NULL OR next_request_time <= clock_timestamp())
        AND NOT EXISTS (SELECT FROM logins WHERE login_key = %(login_key)s AND {IS_REFUSED})
), busy AS (
    SELECT scope, count(*) AS count FROM slots
    WHERE lease_until >= clock_timestamp() GROUP BY scope
), room AS (
    SELECT at_once, at_once - coalesce((SELECT count FROM busy WHERE scope = '{PORTAL}'), 0) AS room
    FROM door
), shut AS MATERIALIZED (
    SELECT scope AS court FROM busy WHERE scope <> '{PORTAL}' AND count >= %(per_court)s
    UNION ALL
    SELECT court FROM courts LEFT JOIN busy ON scope = court
    WHERE next_probe_time > clock_timestamp() OR (next_probe_time IS NOT NULL AND count > 0)
)
"""

# Whether the portal is being asked for the case of `jobs` on behalf of another job.
IS_ASKED_FOR_ANOTHER = """
EXISTS (SELECT FROM jobs AS other WHERE other.process_number = jobs.process_number
    AND other.job_id <> jobs.job_id AND other.listed_time IS NULL AND other.end_time IS NULL
    AND other.listing_lease_until >= clock_timestamp() AND other.listed_by IS NULL)
"""

# Whether a job has something to ask for. One document of each kind is looked for: EXISTS would let
# PostgreSQL read all documents that wait, of all jobs. The last fresh one: before the first lie the
# dead entries of all that were fetched.
_CAN_LIST = f"""
    listed_time IS NULL AND NOT {IS_ASKED_FOR_ANOTHER}
    AND coalesce(listing_not_before, '-infinity') <= clock_timestamp()
    AND coalesce(listing_lease_until, '-infinity') < clock_timestamp()
"""
_FREE_LANES = f"""%(lanes)s - (SELECT count(*) FROM documents
        WHERE documents.job_id = jobs.job_id AND documents.state IN ({in_list(sorted(IN_LANE))}))"""
_CAN_FETCH = f"""
    listed_time IS NOT NULL
    AND {_FREE_LANES} > 0
    AND ((SELECT true FROM documents WHERE documents.job_id = jobs.job_id
            AND documents.state = 'PENDING' AND not_before IS NULL
            ORDER BY position DESC LIMIT 1)
        OR (SELECT true FROM documents WHERE documents.job_id = jobs.job_id
            AND documents.state = 'PENDING' AND not_before <= statement_timestamp() LIMIT 1))
"""

CHOOSE = f"""
WITH {_DOOR}
SELECT next.*, room, at_once,
    least(room, %(per_court)s - coalesce(
        (SELECT count FROM busy WHERE scope = next.court), 0)) AS free_slots,
    (SELECT coalesce(max(served_at), 0) FROM shares all_shares
        WHERE all_shares.is_bulk = shares.is_bulk) AS served_at,
    shares.pass AS client_pass, jobs_at, coalesce(request_s, {UNMEASURED_S}) AS cost_s,
    courts.next_probe_time IS NOT NULL AS is_probe,
    clock_timestamp() - courts.failing_since > %(patience_s)s * interval '1 second' AS is_long
FROM room, shares CROSS JOIN LATERAL (
    SELECT jobs.job_id, turns.client, turns.is_bulk, turns.court, turns.pass AS job_pass,
        jobs.listed_time IS NULL AS needs_listing, {_FREE_LANES} AS free_lanes
    FROM turns JOIN jobs USING (job_id)
    WHERE turns.client = shares.client AND turns.is_bulk = shares.is_bulk AND end_time IS NULL
        AND NOT EXISTS (SELECT FROM shut WHERE shut.court = turns.court)
        AND turns.job_id <> ALL(%(passed_over)s::uuid[])
        AND (({_CAN_LIST}) OR ({_CAN_FETCH}))
    ORDER BY turns.pass, turns.number LIMIT 1
) AS next LEFT JOIN courts USING (court)
WHERE room > 0
ORDER BY shares.is_bulk, shares.pass, next.job_pass LIMIT 1
"""


# One claim at a time: the next one begins with what this one has decided. Taken before any row.
IN_TURN = "pg_advisory_xact_lock(hashtextextended('turns', 0))"


def wait(transaction: Transaction) -> None:
    """Waits until no other claim is being made, for as long as the transaction lasts."""
    transaction.all(f"SELECT {IN_TURN}")


def choose(
    transaction: Transaction,
    limits: Limits,
    login: Login,
    *,
    patience_s: float,
    passed_over: Sequence[UUID] = (),
) -> Row | None:
    """The job whose turn it is, and how much room there is; None: nothing may be asked for.

    Nothing is locked: whoever claims by it looks again under the job's lock. `passed_over`: jobs
    that are not to be chosen.
    """
    return transaction.one(
        CHOOSE,
        at_once=limits.at_once,
        per_court=limits.per_court,
        per_minute=limits.per_minute,
        lanes=limits.lanes,
        patience_s=patience_s,
        passed_over=list(passed_over),
        login_key=login.key,
        fingerprint=login.fingerprint,
    )


# The last statement of the claim: every claim of a client waits for this row.
CHARGE = """
WITH job AS (
    UPDATE turns SET pass = greatest(pass, %(jobs_at)s) + %(cost_s)s / weight
    WHERE job_id = %(job_id)s)
UPDATE shares SET jobs_at = greatest(jobs_at, %(job_pass)s),
    served_at = greatest(shares.served_at, %(client_pass)s, %(served_at)s),
    pass = greatest(pass, %(served_at)s) + %(cost_s)s
WHERE client = %(client)s AND is_bulk = %(is_bulk)s
"""


def charge(transaction: Transaction, chosen: Row) -> None:
    """Has the chosen job and its client pay for one request."""
    transaction.run(
        CHARGE,
        job_id=chosen["job_id"],
        client=chosen["client"],
        is_bulk=chosen["is_bulk"],
        job_pass=chosen["job_pass"],
        jobs_at=chosen["jobs_at"],
        client_pass=chosen["client_pass"],
        served_at=chosen["served_at"],
        cost_s=chosen["cost_s"],
    )
