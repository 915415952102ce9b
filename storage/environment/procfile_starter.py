"""Starters of Procfiles, such as honcho and foreman: they start every line, `release` included.

A starter stops all lines when one ends. Below a starter, `release` therefore does not end after its
work. A platform that runs `release` by itself (Heroku, Dokku) needs its end.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import structlog

from storage.errors import ServiceRefused, ServiceUnavailable

T = TypeVar("T")

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# In each of them a starter writes the name of the line: honcho, foreman (overmind, too).
LINE_NAMES = ("HONCHO_PROCESS_NAME", "PS")
LINE = "release"
# Heroku sets it, and waits for the end of `release`.
PLATFORM = "DYNO"
PAUSE_S = 1.0


def is_parent(env: Mapping[str, str]) -> bool:
    """Return whether a starter started this process as its line `release`."""
    if PLATFORM in env:
        return False
    # Of honcho and foreman `release.1`, of overmind `release`.
    return any(env.get(name, "").partition(".")[0] == LINE for name in LINE_NAMES)


def repeat(work: Callable[[], T], *, pause_s: float = PAUSE_S) -> T:
    """Return the result of `work`; repeat it while PostgreSQL or S3 is unavailable.

    The servers may start at the same time. Raises ServiceRefused, which no wait repairs.
    """
    is_logged = False
    while True:
        try:
            return work()
        except ServiceRefused:
            raise
        except ServiceUnavailable as error:
            if not is_logged:
                log.warning("waiting", missing=error.detail)
            is_logged = True
        time.sleep(pause_s)


def stay() -> None:
    """Return at SIGTERM or SIGINT."""
    log.info("the release stays, because its starter stops everything when one process ends")
    stops = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    signal.sigwait(stops)
