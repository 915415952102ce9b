"""Wait for `release`: no process works before the tables and the bucket of its version exist."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import structlog

from storage.errors import ConfigurationError, ServiceRefused, ServiceUnavailable
from storage.health import start_check
from storage.objects import installation
from storage.postgres import session_settings
from storage.postgres.database import Database
from storage.postgres.migrate import is_migrated

log: structlog.stdlib.BoundLogger = structlog.get_logger()

RELEASE = "python -m storage.release"
# Seconds between two checks.
LOOK_S = 1.0
STOP_LOOK_S = 0.1


def is_released(database: Database) -> bool:
    """Return whether `release` has prepared database and bucket for this version.

    It writes the row of the installation after it has made the bucket. Raises ServiceUnavailable.
    """
    return is_migrated(database) and installation.read(database) is not None


def await_release(database_url: str) -> bool:
    """Wait until `release` has run. Return False at once after SIGTERM or SIGINT.

    One line names what the process waits for. Call it in the main thread. Raises
    ConfigurationError with one sentence if PostgreSQL refuses what no wait cures.
    """
    problems: list[str] = []
    with stopping() as stop:
        # A connection that hangs would delay the handling of a signal in the main thread.
        waiting = threading.Thread(
            target=_safely_wait, args=(database_url, stop, problems), daemon=True
        )
        waiting.start()
        while waiting.is_alive() and not stop.is_set():
            waiting.join(STOP_LOOK_S)
        if problems:
            raise ConfigurationError(problems[0])
        return not stop.is_set()


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and SIGINT set until the block ends."""
    stop = threading.Event()
    former = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _safely_wait(database_url: str, stop: threading.Event, problems: list[str]) -> None:
    try:
        _wait(database_url, stop, problems)
    except Exception:
        # Otherwise the process would begin as if the release had run.
        log.exception("the release is not awaited")
        problems.append("DATABASE_URL: whether the release has run cannot be read.")


def _wait(database_url: str, stop: threading.Event, problems: list[str]) -> None:
    with closing(Database(database_url, max_connections=1)) as database:
        logged = ""
        while not stop.is_set():
            try:
                missing = missing_part(database)
            except ServiceRefused as error:
                # At the start PostgreSQL may have been unavailable.
                if problem := start_check.session_problem(database_url):
                    problems.append(problem)
                    return
                missing = error.detail
            if missing is None:
                break
            if missing != logged:
                log.warning("waiting", missing=missing)
                logged = missing
            stop.wait(LOOK_S)
        if logged and not stop.is_set():
            log.info("the wait is over")


def missing_part(database: Database) -> str | None:
    """Return what a process waits for, None if it may begin. Raises ServiceRefused."""
    try:
        # First, because a row may hold a time, which cannot be read with wrong settings.
        problem = session_settings.exactness_problem(database)
        if not problem:
            return None if is_released(database) else f"the release: run `{RELEASE}`"
    except ServiceRefused:
        raise
    except ServiceUnavailable as error:
        return error.part
    # Only sessions that begin now have what is set meanwhile.
    database.close()
    return problem
