"""How Autos stands right now, in numbers: one transaction, a few small statements, for a metric.

None of them walks what has ended, or what only grows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from storage.database import Database, in_list
from storage.logins import IS_REFUSED, Login
from storage.repairs import IN_TROUBLE
from storage.slots import PORTAL, Limits
from storage.states import IN_LANE, JOB_RUNNING, DocumentState, WebhookState

_WHOLE = f"""
SELECT EXISTS (SELECT FROM logins WHERE login_key = %(login_key)s AND {IS_REFUSED})
        AS is_login_refused,
    coalesce((SELECT greatest(0, extract(epoch FROM paused_until - clock_timestamp()))
        FROM portal WHERE paused_until > clock_timestamp()), 0)::float8 AS paused_s,
    least(%(at_once)s, floor((SELECT eased FROM portal)))::integer AS at_once,
    (SELECT count(*) FROM spools WHERE {IN_TROUBLE}) AS spools_in_trouble,
    NOT EXISTS (SELECT FROM installation WHERE bucket_trouble = '' AND sweep_trouble = '')
        AS is_bucket_in_trouble
"""

_REQUESTS = f"""
SELECT scope AS court, count(*) FILTER (WHERE lease_until >= clock_timestamp()) AS requests
FROM slots WHERE scope <> '{PORTAL}' GROUP BY scope
"""

# What has not been measured is assumed, and an assumption is no metric.
_COURTS = """
SELECT court, next_probe_time IS NOT NULL AS is_away,
    CASE WHEN measured_requests > 0 THEN request_s END AS request_s
FROM courts
"""

_JOBS = f"""
SELECT state, count(*) AS jobs, count(*) FILTER (WHERE is_waiting) AS waiting,
    coalesce(extract(epoch FROM clock_timestamp() - min(begin_time) FILTER (WHERE is_waiting)),
        0)::float8 AS oldest_s
FROM (
    SELECT state, coalesce(rerun_time, create_time) AS begin_time,
        coalesce(listing_lease_until, '-infinity') < clock_timestamp()
        AND NOT EXISTS (SELECT FROM documents WHERE documents.job_id = jobs.job_id
            AND documents.state = '{DocumentState.DOWNLOADING}')
        AND (listed_time IS NULL OR EXISTS (SELECT FROM documents
            WHERE documents.job_id = jobs.job_id
            AND documents.state = '{DocumentState.PENDING}')) AS is_waiting
    FROM jobs WHERE state IN ({in_list(sorted(JOB_RUNNING))})
) AS running GROUP BY state
"""

# What waits is what is left of the listed: counted by the jobs, since it may be very much.
_OPEN = f"""
SELECT coalesce(sum(total_documents - completed_documents - failed_documents
    - cancelled_documents), 0) AS open
FROM jobs WHERE state IN ({in_list(sorted(JOB_RUNNING))}) AND total_documents IS NOT NULL
"""

_IN_LANE = f"""
SELECT state, count(*) AS documents FROM documents WHERE state IN ({in_list(sorted(IN_LANE))})
GROUP BY state
"""

_WEBHOOKS = f"""
SELECT count(*) AS due,
    coalesce(extract(epoch FROM clock_timestamp() - min(next_attempt_time)), 0)::float8 AS oldest_s
FROM webhooks WHERE state = '{WebhookState.PENDING}' AND next_attempt_time <= clock_timestamp()
"""


@dataclass(frozen=True, slots=True)
class Gauges:
    """Mappings are by court (J.TR), `jobs` by state.

    `at_once`: how many requests may be at the portal now, less than what is set in a slow start.
    A job waits that has something to ask the portal for and no request under way; `oldest_s`: how
    long ago the run of the oldest of these began. `documents`, by state, are those of jobs that run
    and that are not over; `webhook_oldest_s`: for how long the oldest due webhook has been due.
    """

    is_login_refused: bool
    paused_s: float
    at_once: int
    requests: Mapping[str, int]
    courts_away: Mapping[str, bool]
    request_s: Mapping[str, float]
    jobs: Mapping[str, int]
    jobs_waiting: int
    oldest_s: float
    documents: Mapping[str, int]
    webhooks_due: int
    webhook_oldest_s: float
    spools_in_trouble: int
    is_bucket_in_trouble: bool


def read(database: Database, limits: Limits, login: Login) -> Gauges:
    """The gauges of this moment. Raises ServiceUnavailable."""
    with database.transaction() as transaction:
        whole = transaction.only(
            _WHOLE,
            login_key=login.key,
            fingerprint=login.fingerprint,
            at_once=limits.at_once,
        )
        requests = transaction.all(_REQUESTS)
        courts = transaction.all(_COURTS)
        jobs = transaction.all(_JOBS)
        is_open = int(transaction.only(_OPEN)["open"])
        in_lane = {row["state"]: row["documents"] for row in transaction.all(_IN_LANE)}
        hooks = transaction.only(_WEBHOOKS)
    return Gauges(
        is_login_refused=whole["is_login_refused"],
        paused_s=whole["paused_s"],
        at_once=whole["at_once"],
        requests={row["court"]: row["requests"] for row in requests},
        courts_away={row["court"]: row["is_away"] for row in courts},
        request_s={row["court"]: row["request_s"] for row in courts if row["request_s"]},
        jobs=dict.fromkeys(sorted(JOB_RUNNING), 0) | {row["state"]: row["jobs"] for row in jobs},
        jobs_waiting=sum(row["waiting"] for row in jobs),
        oldest_s=max((row["oldest_s"] for row in jobs), default=0.0),
        documents=_documents(is_open, in_lane),
        webhooks_due=hooks["due"],
        webhook_oldest_s=hooks["oldest_s"],
        spools_in_trouble=whole["spools_in_trouble"],
        is_bucket_in_trouble=whole["is_bucket_in_trouble"],
    )


def _documents(is_open: int, in_lane: Mapping[str, int]) -> dict[str, int]:
    # The statements see different moments.
    waiting = max(0, is_open - sum(in_lane.values()))
    return {DocumentState.PENDING: waiting, **dict.fromkeys(sorted(IN_LANE), 0), **in_lane}
