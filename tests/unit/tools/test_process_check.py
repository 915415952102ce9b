"""Test the probe of the actors' processes."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest
from prometheus_client import CollectorRegistry

from actors.__main__ import check
from storage.errors import ConfigurationError
from storage.telemetry.page import served
from storage.telemetry.process_signals import PORT_AFTER, listen


def test_a_process_works_while_its_page_answers(capsys: pytest.CaptureFixture[str]) -> None:
    with closing(listen("127.0.0.1:0", "worker")) as page:
        port = page.getsockname()[1]
        address = f"0.0.0.0:{port - PORT_AFTER['worker']}"
        with served(page, CollectorRegistry()):
            assert check(address, "worker")
    assert not check(address, "worker")

    *_, works, problem = capsys.readouterr().out.splitlines()
    assert works == "worker works"
    assert problem.startswith(f"127.0.0.1:{port}: ")


def test_a_process_that_accepts_but_does_not_answer_http_does_not_work() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.shutdown(socket.SHUT_RD)
        port = silent.getsockname()[1]
        assert not check(f"127.0.0.1:{port - PORT_AFTER['notifier']}", "notifier")


@pytest.mark.parametrize("address", [None, "127.0.0.1:0"])
def test_without_a_port_there_is_nothing_to_check(address: str | None) -> None:
    with pytest.raises(ConfigurationError, match="METRICS_LISTEN"):
        check(address, "worker")
