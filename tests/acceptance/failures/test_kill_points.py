"""Kill a process with SIGKILL at each step of a job; every job ends as it should.

Each step is killed once, all of them side by side. `make killpoints` has more points and kills at
them one after another, many times.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from dev.embedded.embedded_servers import EmbeddedServers
from tests.killpoints.assertions import check, check_leftovers
from tests.killpoints.mortal_stack import mortal_autos
from tests.killpoints.trials import STEPS, Turns, attempt
from tests.killpoints.triggers import Triggers
from tests.sandbox.receivers.webhook_receiver import WebhookReceiver
from tests.system.running_autos import Autos


@pytest.fixture
def mortal(
    servers: EmbeddedServers, receiver: WebhookReceiver, tmp_path: Path
) -> Iterator[tuple[Autos, Triggers]]:
    """Yield a separate Autos; a test can kill its processes at a chosen point."""
    # One worker process restarts more quickly than two. A dozen kills load the machine, so that
    # living processes would lose leases of 3 s.
    with mortal_autos(servers, receiver, tmp_path, WORKER_PROCESSES="1", LEASE_S="10") as running:
        yield running


# A dozen processes restart, which takes seconds on an idle machine and minutes on a busy one.
@pytest.mark.timeout(400)
def test_a_kill_at_any_step_loses_nothing(mortal: tuple[Autos, Triggers]) -> None:
    autos, flags = mortal
    with ThreadPoolExecutor(len(STEPS)) as pool:
        trials = list(pool.map(partial(attempt, autos, flags, Turns()), STEPS))

    for trial in trials:
        check(autos, trial, flags.deaths())
    check_leftovers(autos, flags, trials)
