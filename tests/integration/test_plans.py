"""What a document costs in PostgreSQL does not grow with its job."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from storage import claims, tasks
from storage.claims import Claim
from storage.database import Database
from tests.integration import guest, scenes
from tests.integration.guest import asking
from tests.integration.scenes import LANES, PDF

# Far fewer than the documents of the large job; a few for each lookup by an index.
MOST_ROWS = 150.0
DOCUMENTS = 3_000
AT_ONCE = 4
ROUNDS = 10

_READ = """
SELECT (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes)
    + (SELECT sum(seq_tup_read) FROM pg_stat_user_tables) AS rows
"""


@pytest.fixture
def session(database_url: str) -> Iterator[Database]:
    """A database over one connection, whose plans are kept."""
    database = Database(database_url, max_connections=1)
    yield database
    database.close()


def _rows_read(database: Database) -> int:
    with database.single() as transaction:
        transaction.all("SELECT pg_stat_force_next_flush()")
    with database.single() as transaction:
        return int(transaction.only(_READ)["rows"])


ASKING = asking()


def _round(database: Database) -> int:
    """Some documents from claim to AVAILABLE; how many."""
    tasks_, _ = tasks.next_claims(database, ASKING, AT_ONCE)
    found = [task for task in tasks_ if isinstance(task, Claim)]
    claims.all_spooled(database, [(claim, PDF) for claim in found])
    waiting = claims.next_uploads(
        database,
        ASKING.spool_id,
        woken_by=[claim.lease for claim in found[:1]],
        most=AT_ONCE,
        lease_s=60,
    )
    files = waiting.files
    stored = claims.all_stored(database, [(file, scenes.key(file)) for file in files], lanes=LANES)
    assert len(stored.stored) == len(found)
    return len(found)


def test_plans_that_were_made_for_empty_tables_do_for_large_ones(
    database: Database, session: Database
) -> None:
    guest.job(database, 2 * ROUNDS * AT_ONCE)
    assert _round(session) == AT_ONCE
    job_id = guest.job(database, DOCUMENTS)
    before = _rows_read(session)

    done = sum(_round(session) for _ in range(ROUNDS))

    assert done >= (ROUNDS - 1) * AT_ONCE
    assert scenes.job(database, job_id)["completed_documents"] >= done // 2
    assert (_rows_read(session) - before) / done < MOST_ROWS
