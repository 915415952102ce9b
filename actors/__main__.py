"""`python -m actors ROLE`: run one process group of the Procfile, named as there.

`python -m actors check ROLE` checks whether it works, for probes.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

from actors.runtime.process_check import check
from storage import logs
from storage.environment import core_dumps
from storage.errors import ConfigurationError
from storage.health import start_check
from storage.health.release_wait import await_release
from storage.settings import Settings
from storage.spool import Spool
from storage.telemetry.process_signals import INHERITED, listen, require_opentelemetry
from storage.telemetry.shared_folder import shared_folder

DRAMATIQ_ROLES = {"worker", "uploader", "notifier"}
# The environment variable from which the forked processes read their role.
ROLE = "AUTOS_ROLE"
# Milliseconds after which an idle thread checks for a stop; a message wakes it at once.
THREAD_LOOK_MS = 250
SHUTDOWN_MS = 25_000


def main(argv: list[str]) -> int:
    """Return the exit code: 1 with one sentence if the settings or the name are not usable."""
    is_check = argv[:1] == ["check"]
    names = argv[1:] if is_check else argv
    if len(names) != 1 or names[0] not in {*DRAMATIQ_ROLES, "scheduler"}:
        return _refuse("usage: python -m actors [check] worker | uploader | notifier | scheduler")
    core_dumps.switch_off()
    (role,) = names
    try:
        settings = Settings.from_env(os.environ, role)
    except ConfigurationError as error:
        return _refuse(f"autos {role}: {error}")
    logs.configure(settings.log_format, process=role)
    try:
        if is_check:
            return int(not check(settings.metrics_listen, role))
        start_check.check(settings, role)
        # Before a fork: connections are not shared between processes.
        if not await_release(settings.database_url):
            return 0
        return _scheduler(settings) if role == "scheduler" else _dramatiq(role, settings)
    except ConfigurationError as error:
        return _refuse(f"autos {role}: {error}")


def _refuse(sentence: str) -> int:
    print(sentence, file=sys.stderr)  # noqa: T201 - for the operator
    return 1


def _scheduler(settings: Settings) -> int:
    from actors.runtime.scheduler_process import run_scheduler

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run_scheduler(settings, stop)
    return 0


def _dramatiq(role: str, settings: Settings) -> int:
    # Dramatiq reads its environment at its import. It must not hold more messages than it can
    # process: by default it takes twice as many, and one process would have all lanes of a job.
    os.environ["dramatiq_worker_timeout"] = str(THREAD_LOOK_MS)
    os.environ["dramatiq_queue_prefetch"] = str(settings.worker_threads)
    from dramatiq import cli

    # Before Dramatiq forks, so that it is loaded once and its memory is shared.
    importlib.import_module("actors.runtime.boot")
    os.environ[ROLE] = role
    # Only downloads take long enough to need more than one Python process.
    processes = settings.worker_processes if role == "worker" else 1
    args = cli.make_argument_parser().parse_args(
        [
            "actors.runtime.boot:broker",
            *("--queues", *_queues(role, settings)),
            *("--processes", str(processes)),
            *("--threads", str(settings.worker_threads)),
            *("--worker-shutdown-timeout", str(SHUTDOWN_MS)),
            "--skip-logging",
        ]
    )
    if settings.otlp_endpoint:
        # Checked here, so that the failure is one sentence.
        require_opentelemetry()
    with _shared_page(role, settings):
        return int(cli.main(args) or 0)


def _queues(role: str, settings: Settings) -> list[str]:
    from actors.messaging.enqueuer import upload_queue
    from actors.tasks import DOWNLOAD_QUEUE, LIST_QUEUE, WEBHOOK_QUEUE, broker

    if role == "notifier":
        return [WEBHOOK_QUEUE]
    # Opened here, so that a folder that cannot be used is one sentence.
    spool = Spool(settings.spool_dir, settings.spool_id, settings.spool_max_bytes)
    if role == "worker":
        return [LIST_QUEUE, DOWNLOAD_QUEUE]
    # The files of an uploader are on its host, so its spool has its own queue.
    queue = upload_queue(spool.spool_id)
    broker.declare_queue(queue)
    return [queue]


@contextmanager
def _shared_page(role: str, settings: Settings) -> Iterator[None]:
    """Give the processes that are forked inside the block one common metrics page.

    Any of them answers, with the numbers of all.
    """
    if settings.metrics_listen is None:
        yield
        return
    with (
        closing(listen(settings.metrics_listen, role)) as listener,
        shared_folder(os.environ, settings.data_dir),
    ):
        os.environ[INHERITED] = str(listener.fileno())
        yield


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
