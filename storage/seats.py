"""How many jobs of a client run at once: each has a seat of its own.

A seat is a number up to the limit, unique among the client's running jobs. So the limit holds
exactly, whoever starts jobs where, without a count or a lock that others wait for: a unique index
refuses what is too many. A seat is drawn; while most are free one of the first draws is.
"""

from __future__ import annotations

import random

from storage.database import Transaction, in_list
from storage.errors import LimitReached
from storage.models.job import RUNNING, Job
from storage.states import JOB_RUNNING

DRAWS = 64
_SEATED = f"""
    SELECT seat FROM jobs AS seated
    WHERE seated.client = %(client)s AND seated.state IN ({in_list(sorted(JOB_RUNNING))})
"""
# Not EXISTS: that could be planned as a join with all of the client's running jobs.
_IS_FREE = f"({_SEATED} AND seated.seat = drawn.seat) IS NULL"
# A free seat of %(seats)s. Null when all draws were taken, and while there are more seats taken
# than there are now, because the limit was lowered: then free_seat() looks closely.
DRAWN = f"""(
    SELECT seat FROM (SELECT 1 + floor(random() * %(seats)s)::integer AS seat
        FROM generate_series(1, {DRAWS})) AS drawn
    WHERE {_IS_FREE} AND ({_SEATED} AND seated.seat > %(seats)s LIMIT 1) IS NULL LIMIT 1
)"""


def free_seat(transaction: Transaction, client: str, seats: int) -> int:
    """Return a seat that was free a moment ago. Raises LimitReached.

    Looks through all of them: for when most are taken.
    """
    query = Job.select(Job.seat).where(
        Job.client == client, Job.state.in_(RUNNING), Job.seat.is_null(False)
    )
    taken = {seat for (seat,) in transaction.fetch(query.tuples())}
    free = set(range(1, room(taken, seats) + 1)) - taken
    if not free:
        raise LimitReached.too_many_jobs(client, seats)
    # Any, so that those who look in the same moment seldom want the same.
    return random.choice(tuple(free))


def room(taken: set[int], seats: int) -> int:
    """The seats up to which one may be given, so that no more than `seats` are ever taken.

    Fewer than `seats` while some beyond are taken, from before the limit was lowered.
    """
    most = seats
    while (fewer := max(0, seats - sum(seat > most for seat in taken))) != most:
        most = fewer
    return most
