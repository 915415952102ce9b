"""What the end of a request led to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the end of an attempt led to.

    `delay_s`: seconds until it may be made again, None when it is over. `wakes`: how many requests
    more than before may begin now, beside the next of whoever made this one. `lingers`: the slots
    of this one are free only a moment later. `is_closed`: until then the portal, or the court,
    takes no request of others either. `due_webhooks`: those of the job that has ended, by their
    positions.
    """

    delay_s: float | None
    job_has_ended: bool
    extra_requests: int = 0
    delays_release: bool = False
    is_closed: bool = False
    due_webhooks: Sequence[int] | None = None
