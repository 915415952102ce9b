"""Test what the heartbeat of a spool logs."""

from __future__ import annotations

from typing import Any, cast

from structlog.testing import capture_logs

from actors.leases.heartbeats import Heartbeat
from storage.errors import ServiceUnavailable


class _WithoutDatabase:
    def trouble(self) -> str:
        raise ServiceUnavailable("PostgreSQL")


def test_an_outage_gets_no_line_for_each_heartbeat() -> None:
    with capture_logs() as logs:
        Heartbeat(cast("Any", None), cast("Any", _WithoutDatabase())).beat()

    assert [(line["event"], line["log_level"]) for line in logs] == [("no heartbeat", "debug")]
