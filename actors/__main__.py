"""`python -m actors ROLE`: run one process group of the Procfile, named as there.

`python -m actors check ROLE` checks whether it works, for probes.
"""

from __future__ import annotations

import http.client
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

from storage import logs
from storage.environment import core_dumps
from storage.errors import ConfigurationError
from storage.health import start_check
from storage.health.release_wait import await_release
from storage.settings import Settings
from storage.spool import Spool
from storage.telemetry.process_signals import INHERITED, PORT_AFTER, listen, require_opentelemetry
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
    from actors.messaging.enqueuer import WEBHOOK_QUEUE, upload_queue
    from actors.tasks import DOWNLOAD_QUEUE, LIST_QUEUE, broker

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


TIMEOUT_S = 5.0
# An address that means all of a host's, and the one by which this host reaches itself.
_OWN = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - nothing listens here


def check(metrics_listen: str | None, role: str) -> bool:
    """Return whether the metrics page of `role` answers; print one line.

    A process serves its page once it has begun its work, so one that waits for `release` does not
    answer. Raises ConfigurationError if there is no page.
    """
    if metrics_listen is None or metrics_listen.endswith(":0"):
        raise ConfigurationError("check requests the metrics page: set METRICS_LISTEN with a port.")
    host, _, port = metrics_listen.rpartition(":")
    address = f"{_OWN.get(host, host)}:{int(port) + PORT_AFTER[role]}"
    problem = _problem(address)
    print(f"{role} works" if problem is None else f"{address}: {problem}")  # noqa: T201 - a command
    return problem is None


def _problem(address: str) -> str | None:
    try:
        with closing(http.client.HTTPConnection(address, timeout=TIMEOUT_S)) as connection:
            connection.request("GET", "/metrics")
            status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    return None if status == http.client.OK else f"status {status}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
