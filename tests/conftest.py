"""Share the real servers, started once a run, and deadlines instead of sleeps."""

from __future__ import annotations

import base64
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path

import hypothesis
import pytest
import structlog

from dev.embedded.embedded_servers import EMBEDDED, EmbeddedServers, Kinds, start_all
from dev.embedded.postgres import postgres
from dev.folder import DataFolder
from tests.xdist_schedule import Schedule, modules, place_of

# Recognisable values, so that a test can search for them where they must not be.
WEBHOOK_SECRET = "whsec_" + base64.b64encode(b"planted-webhook-secret-0123456789").decode()
PORTAL_TOKEN = "planted-portal-token-0123456789"

# No test cuts the machine's power. The kernel keeps what a killed PostgreSQL has written.
UNSYNCED = partial(postgres, settings={"fsync": "off", "full_page_writes": "off"})
SERVERS: Kinds = {**EMBEDDED, "postgres": ("DATABASE_URL", UNSYNCED)}

# A busy machine is no failure.
hypothesis.settings.register_profile(
    "autos", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("autos")


# By default each error is written with all local variables, which may take seconds.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(
            colors=False, exception_formatter=structlog.dev.plain_traceback
        ),
    ]
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--pooled`: the tests of tests/integration use a pooler, as operators may."""
    parser.addoption("--pooled", action="store_true", help="through a pooler in transaction mode")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return the number of processes of `make test`: one for each processor, from 4 to 8.

    Tests wait often, so fewer would leave processors idle. Each process has servers of its own.
    """
    return min(8, max(4, os.cpu_count() or 4))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Schedule | None:
    """Return the scheduler that assigns files to processes for `--dist loadfile`."""
    if config.option.dist != "loadfile":
        return None
    config.option.loadscopereorder = False  # The files are sorted already, see below.
    return Schedule(config, log)


def pytest_configure() -> None:
    """Have started processes take SIGINT, also if a shell started the tests in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Import other test files first than the other xdist processes do, before all are collected.

    The first import of a file rewrites its assertions, which takes longer than all else of it. Each
    process finds most files rewritten already, by another one.
    """
    number, processes = map(os.environ.get, ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT"))
    if number and processes and session.config.args == session.config.getini("testpaths"):
        for name in modules()[int(number.removeprefix("gw")) :: int(processes)]:
            # The collection reports what fails here.
            with suppress(Exception):
                import_module(name)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort the slowest files first, alike in every xdist process; do nothing without xdist."""
    if os.environ.get("PYTEST_XDIST_WORKER"):
        items.sort(key=lambda item: place_of(item.location[0]))


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    """Yield PostgreSQL, Valkey and S3, as `make run` starts them."""
    folder = DataFolder(Path(tmp_path_factory.mktemp("servers")))
    running = start_all(folder, {}, lambda line: print(line), SERVERS)
    yield running
    running.stop()
    folder.close()
