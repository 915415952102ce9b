"""Test the limits under load: many processes claim any job, proposed or not, at full speed."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from storage.portal.request_claims import Claimed, ClaimRefusal, Slice, claim, claim_any
from storage.postgres.database import Database
from tests.integration.harness import factories
from tests.integration.portal.test_request_claims import CONTEXT, LIMITS, quick_court, small_case

THREADS = 8
CLAIMS = 60

# States that must never be seen. Each row is an exceeded limit.
VIOLATIONS = """
SELECT 'portal' AS limited, count(*) FROM slots WHERE scope = '' AND lease IS NOT NULL
HAVING count(*) > %(at_once)s
UNION ALL SELECT scope, count(*) FROM slots WHERE scope <> '' AND lease IS NOT NULL
GROUP BY scope HAVING count(*) > %(per_court)s
UNION ALL SELECT job_id::text, count(DISTINCT slice) FROM documents
WHERE state = 'DOWNLOADING' GROUP BY job_id HAVING count(DISTINCT slice) > %(lanes)s
UNION ALL SELECT 'slice without slot', count(*) FROM documents
WHERE state = 'DOWNLOADING' AND slice NOT IN (SELECT lease FROM slots WHERE lease IS NOT NULL)
HAVING count(*) > 0
"""


@pytest.fixture
def processes(database_url: str) -> Iterator[list[Database]]:
    """Yield the databases of several processes, each with one connection."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(closing(Database(database_url, max_connections=1)))
            for _ in range(THREADS)
        ]


def _release(database: Database, slice_: Slice) -> None:
    """Return a slice's leases, as a worker does when it stops."""
    with database.transaction() as transaction:
        transaction.all("SELECT FROM jobs WHERE job_id = %(id)s FOR UPDATE", id=slice_.job_id)
        transaction.run(
            "UPDATE documents SET state = 'PENDING', lease = NULL, lease_until = NULL,"
            " slice = NULL, slice_size = NULL, spool_id = NULL WHERE slice = %(t)s",
            t=slice_.token,
        )
        transaction.run(
            "UPDATE slots SET lease = NULL, lease_until = NULL, taken_time = NULL, job_id = NULL"
            " WHERE lease = %(t)s",
            t=slice_.token,
        )


class Rogue:
    """Claims jobs at random and checks after each claim that no limit is exceeded."""

    def __init__(self, jobs: list[UUID], limits: Any) -> None:
        self.jobs = jobs
        self.context = replace(CONTEXT, limits=limits)
        self.requested: Counter[UUID] = Counter()
        self.held: set[UUID] = set()
        self.lock = threading.Lock()

    def run(self, database: Database, seed: int) -> int:
        """Make CLAIMS claims with one process. Return how many were granted."""
        chance, mine, begun = random.Random(seed), list[Slice](), 0
        for _ in range(CLAIMS):
            answer = self._claim(database, chance)
            if isinstance(answer, Slice):
                self._hold(answer)
                mine.append(answer)
                begun += 1
            self._check(database)
            if mine and chance.random() < 0.6:
                self._free(database, mine.pop(chance.randrange(len(mine))))
        for each in mine:
            self._free(database, each)
        return begun

    def _claim(self, database: Database, chance: random.Random) -> Claimed:
        if chance.random() < 0.3:
            return claim_any(database, self.context)
        return claim(database, self.context, chance.choice(self.jobs), chance.randint(1, 8))

    def _hold(self, slice_: Slice) -> None:
        ids = {document.document_id for document in slice_.documents}
        with self.lock:
            assert not ids & self.held, "two live holders of one document"
            self.held |= ids

    def _free(self, database: Database, slice_: Slice) -> None:
        with self.lock:
            self.held -= {document.document_id for document in slice_.documents}
        _release(database, slice_)

    def _check(self, database: Database) -> None:
        limits = self.context.limits
        with database.transaction() as transaction:
            found = transaction.all(
                VIOLATIONS,
                at_once=limits.at_once,
                per_court=limits.per_court,
                lanes=limits.lanes,
            )
        assert not found


def _jobs(database: Database) -> list[UUID]:
    jobs = []
    for court in ("8.26", "8.19", "5.02"):
        for _ in range(2):
            number = factories.process_number().replace(".8.26.", f".{court}.")
            jobs.append(factories.listed_job(database, small_case(40), factories.request(number)))
    return jobs


def test_claims_by_force_exceed_no_limit_and_lease_no_document_twice(
    database: Database, processes: list[Database]
) -> None:
    quick_court(database)
    rogue = Rogue(_jobs(database), replace(LIMITS, at_once=5, per_court=3, lanes=2))

    with ThreadPoolExecutor(THREADS) as pool:
        begun = list(pool.map(rogue.run, processes, range(THREADS)))

    assert sum(begun) >= THREADS
    with database.transaction() as transaction:
        left = transaction.all("SELECT FROM documents WHERE state <> 'PENDING'")
        slots = transaction.all("SELECT FROM slots WHERE lease IS NOT NULL")
    assert not left
    assert not slots


def test_a_slow_start_lets_no_claim_past_what_it_allows(
    database: Database, processes: list[Database]
) -> None:
    jobs = _jobs(database)
    factories.execute(database, "UPDATE portal SET eased = 2, eased_fast_to = 2, eased_to = 10")
    rogue = Rogue(jobs, replace(LIMITS, at_once=2, per_court=10))
    rogue.context = replace(rogue.context, limits=replace(rogue.context.limits, at_once=10))
    seen: list[int] = []

    def claim_all(database: Database, seed: int) -> None:
        for job_id in random.Random(seed).sample(jobs, len(jobs)):
            claim(database, rogue.context, job_id)
            with database.transaction() as transaction:
                row = transaction.only(
                    "SELECT count(*) AS busy FROM slots WHERE scope = '' AND lease IS NOT NULL"
                )
            seen.append(row["busy"])

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(claim_all, processes, range(THREADS)))

    assert max(seen) == 2


def test_a_rate_is_never_exceeded_however_many_claim(
    database: Database, processes: list[Database]
) -> None:
    jobs = _jobs(database)
    context = replace(
        CONTEXT, limits=replace(LIMITS, at_once=1_000, per_court=1_000, lanes=1_000, per_minute=120)
    )
    with database.transaction() as transaction:
        began = transaction.only("SELECT clock_timestamp() AS now")["now"]

    def claim_all(database: Database, seed: int) -> int:
        chance = random.Random(seed)
        return sum(
            isinstance(claim(database, context, chance.choice(jobs)), Slice) for _ in range(15)
        )

    with ThreadPoolExecutor(THREADS) as pool:
        begun = sum(pool.map(claim_all, processes, range(THREADS)))

    with database.transaction() as transaction:
        row = transaction.only(
            "SELECT extract(epoch FROM next_request_time - %(began)s)::float8 AS reserved_s"
            " FROM portal",
            began=began,
        )
    # Each request reserved half a second of its own.
    assert begun >= 1
    assert row["reserved_s"] >= 0.5 * begun


def test_five_claims_of_one_job_in_one_moment_all_begin(
    database: Database, processes: list[Database]
) -> None:
    job_id = factories.listed_job(database, 20)
    claim(database, CONTEXT, factories.listed_job(database, 1))  # The rows of the slots exist now.
    together = threading.Barrier(5)

    def begin(database: Database) -> Claimed:
        together.wait()
        answer = claim(database, CONTEXT, job_id)
        while isinstance(answer, ClaimRefusal) and answer.reason == "BUSY":
            # The four others held the job's row for longer than a claim waits.
            answer = claim(database, CONTEXT, job_id)
        return answer

    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(begin, processes[:5]))

    assert [type(answer) for answer in answers] == [Slice] * 5
