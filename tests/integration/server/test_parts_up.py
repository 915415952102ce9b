"""Test that the metrics page shows whether Valkey and S3 answer and accept the login."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from dev.embedded.embedded_servers import EmbeddedServers
from server.observability.parts_up import PartsUp, checks_of
from storage.settings import Settings
from tests.conftest import PORTAL_TOKEN, WEBHOOK_SECRET


@pytest.fixture
def settings(
    servers: EmbeddedServers, database_url: str, redis_url: str, objects: object
) -> Settings:
    """Return correct settings."""
    return Settings.from_env(
        {
            **servers.env,
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "S3_BUCKET": "integration",
            "PDPJ_TOKEN": PORTAL_TOKEN,
            "WEBHOOK_SECRET": WEBHOOK_SECRET,
        }
    )


@pytest.fixture
def silent() -> Iterator[str]:
    """Yield the address of a server that accepts connections and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def _up(settings: Settings) -> tuple[float, float]:
    """Return the gauges of Valkey and of S3."""
    with closing(PartsUp(checks_of(settings))) as parts:
        values = {family.name: family.samples[0].value for family in parts.collect()}
    return values["autos_redis_up"], values["autos_s3_up"]


def test_servers_that_answer_are_up(settings: Settings) -> None:
    assert _up(settings) == (1, 1)


def test_a_server_that_refuses_or_is_silent_is_down(settings: Settings, silent: str) -> None:
    assert _up(replace(settings, s3_secret_access_key="wrong")) == (1, 0)
    assert _up(replace(settings, s3_bucket="missing-bucket")) == (1, 0)
    without = settings.redis_url.rpartition("@")[2]
    assert _up(replace(settings, redis_url=f"redis://:wrong@{without}")) == (0, 1)
    away = replace(settings, redis_url=f"redis://{silent}/0", s3_endpoint_url=f"http://{silent}")
    assert _up(away) == (0, 0)
