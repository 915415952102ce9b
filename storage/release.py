"""`python -m storage.release`: prepare database and bucket once before a release's processes start.

Migrates the database, creates the bucket, and marks it as this installation's. Safe to run twice
and by two releases at once.

Starters of Procfiles, such as honcho and foreman, start every line, `release` included, and stop
all lines when one ends. Below a starter, `release` therefore does not end after its work. A
platform that runs `release` by itself (Heroku, Dokku) needs its end.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import TypeVar

import structlog
from peewee import fn

from storage import logs
from storage.environment import core_dumps
from storage.errors import ConfigurationError, ServiceRefused, ServiceUnavailable
from storage.health import start_check
from storage.objects import adoption, installation
from storage.objects.adoption import Contents
from storage.objects.object_store import Objects
from storage.objects.store_address import ObjectStore
from storage.postgres import session_settings
from storage.postgres.database import Database
from storage.postgres.migrate import migrate
from storage.settings import Settings

T = TypeVar("T")

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# In each of them a starter writes the name of the line: honcho, foreman (overmind, too).
_LINE_NAMES = ("HONCHO_PROCESS_NAME", "PS")
LINE = "release"
# Heroku sets it, and waits for the end of `release`.
PLATFORM = "DYNO"
PAUSE_S = 1.0


def is_below_starter(env: Mapping[str, str]) -> bool:
    """Return whether a starter started this process as its line `release`."""
    if PLATFORM in env:
        return False
    # Of honcho and foreman `release.1`, of overmind `release`.
    return any(env.get(name, "").partition(".")[0] == LINE for name in _LINE_NAMES)


def repeat_while_unavailable(work: Callable[[], T], *, pause_s: float = PAUSE_S) -> T:
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


def _stay() -> None:
    """Return at SIGTERM or SIGINT."""
    log.info("the release stays, because its starter stops everything when one process ends")
    stops = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    signal.sigwait(stops)


def release(
    settings: Settings, *, adopts_bucket: bool = False, sweep_allowance: int = 0
) -> Contents | None:
    """Migrate the database and prepare the bucket for this release.

    `adopts_bucket` makes the bucket this installation's and returns its contents. `sweep_allowance`
    is the number of objects without a row that the next sweep may delete. Raises
    ServiceUnavailable, ConfigurationError.
    """
    objects, found = Objects(ObjectStore.of(settings), max_connections=1), None
    with closing(Database(settings.database_url, max_connections=1)) as database:
        _require_utf8(database)
        applied = migrate(database)
        # Only sessions that begin now have the settings.
        database.close()
        if problem := session_settings.exactness_problem(database):
            raise ConfigurationError(problem)
        session_settings.log_missing(database)
        made = objects.ensure_bucket()
        objects.probe()
        if adopts_bucket:
            found = adoption.adopt(database, objects)
        else:
            adoption.claim(database, objects)
        if sweep_allowance:
            installation.allow(database, sweep_allowance)
        if trouble := installation.disagreement(database, objects):
            log.warning("nothing is deleted from the bucket", trouble=trouble)
    log.info("released", migrations=applied, bucket_made=made)
    return found


def _require_utf8(database: Database) -> None:
    """Raise ConfigurationError if the database, or a session with it, cannot store every text."""
    with database.autocommit() as transaction:
        kept = transaction.value(fn.current_setting("server_encoding"))
        sent = transaction.value(fn.current_setting("client_encoding"))
    if problem := session_settings.encoding_problem(kept, sent):
        raise ConfigurationError(problem)


def _adoption_summary(objects: Contents) -> str:
    return (
        f"autos release: the bucket is this installation's now. Documents in it: {objects.there},"
        f" of which rows name {objects.named}, and {objects.unnamed} have no row and stay."
        f" Rows whose object is missing: {objects.missing}; outside S3_PREFIX, not looked for:"
        f" {objects.elsewhere}."
    )


def _flags(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m storage.release", description=__doc__)
    parser.add_argument(
        "--adopt-bucket",
        action="store_true",
        help="after a restore: make the bucket this installation's, and print what is in it",
    )
    parser.add_argument(
        "--let-sweep",
        type=int,
        default=0,
        metavar="N",
        help="let the next sweep delete up to N objects that no row names",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """Return the exit code: 0 if all is ready, 1 with one sentence if not."""
    core_dumps.switch_off()
    flags = _flags(argv)
    is_started_with_others = is_below_starter(os.environ)
    try:
        settings = Settings.from_env(os.environ, "release")
        logs.configure(settings.log_format, process="release")
        start_check.check(settings, "release")
        work = partial(
            release,
            settings,
            adopts_bucket=flags.adopt_bucket,
            sweep_allowance=max(0, flags.let_sweep),
        )
        found = repeat_while_unavailable(work) if is_started_with_others else work()
    except ServiceUnavailable as error:
        print(f"autos release: {error.detail}", file=sys.stderr)  # noqa: T201 - for the operator
        return 1
    except ConfigurationError as error:
        print(f"autos release: {error}", file=sys.stderr)  # noqa: T201 - for the operator
        return 1
    if found:
        print(_adoption_summary(found))  # noqa: T201 - for the operator
    if is_started_with_others:
        _stay()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
