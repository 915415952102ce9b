"""Test addresses, TLS and tokens: what the client dials, and what it rejects before sending."""

from __future__ import annotations

from pathlib import Path

import pytest

from autos import Client
from autos._client.connection import Connection
from autos.errors import WrongSettings

TOKEN = "planted-token-0123456789"


@pytest.mark.parametrize(
    ("address", "target", "is_tls"),
    [
        ("127.0.0.1:50051", "127.0.0.1:50051", False),
        ("localhost", "localhost:50051", False),
        ("[::1]:7", "[::1]:7", False),
        ("https://autos.example", "autos.example:443", True),
        ("https://autos.example:50051/", "autos.example:50051", True),
        ("http://autos:1", "autos:1", False),
        ("unix:/run/autos.sock", "unix:/run/autos.sock", False),
    ],
)
def test_an_address_has_host_port_and_tls(address: str, target: str, is_tls: bool) -> None:
    connection = Connection(address)

    assert (connection.target, connection.is_tls) == (target, is_tls)


@pytest.mark.parametrize(
    "address", ["", ":1", "host:port", "host:99999", "ftp://host", "host:1/path", "a@host:1"]
)
def test_an_invalid_address_is_rejected_at_once(address: str) -> None:
    with pytest.raises(WrongSettings):
        Connection(address)


def test_a_ca_file_means_tls() -> None:
    assert Connection("autos:50051", ca_file=Path("ca.pem")).is_tls
    with pytest.raises(WrongSettings, match="no TLS"):
        Connection("http://autos:50051", ca_file=Path("ca.pem"))


def test_a_certificate_without_its_key_is_rejected() -> None:
    with pytest.raises(WrongSettings, match="both files"):
        Connection("https://autos", cert_file=Path("me.pem"))


def test_a_file_that_cannot_be_read_is_named() -> None:
    with pytest.raises(WrongSettings, match=r"/nowhere/ca\.pem cannot be read: No such file"):
        Client(Connection("https://autos", ca_file=Path("/nowhere/ca.pem")))


def test_a_token_does_not_cross_a_network_in_the_clear_unless_that_is_meant() -> None:
    with pytest.raises(WrongSettings, match="in the clear") as caught:
        Connection("autos:50051", token=TOKEN)

    assert TOKEN not in str(caught.value)
    for address in ("http://autos:50051", "localhost:1", "127.0.0.7:1", "[::1]:1", "unix:/x"):
        assert Connection(address, token=TOKEN).metadata
    # With TLS the token is in the channel's credentials.
    assert Connection("https://autos", token=TOKEN).metadata == ()


@pytest.mark.parametrize("token", ["with space", "new\nline", "naïve", "Bearer x"])
def test_what_cannot_be_a_token_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(WrongSettings) as caught:
        Connection(token=token)

    assert token not in str(caught.value)


def test_the_token_is_in_no_repr() -> None:
    connection = Connection(token=TOKEN)

    with Client(connection) as client:
        assert TOKEN not in repr(connection) + repr(client) + str(connection)


def test_the_environment_has_all_settings() -> None:
    env = {
        "AUTOS_ADDRESS": " https://autos:1 ",
        "AUTOS_TOKEN": f"{TOKEN}\n",
        "AUTOS_CA_FILE": "ca",
        "AUTOS_CERT_FILE": "cert",
        "AUTOS_KEY_FILE": "key",
    }

    assert Connection.from_env(env) == Connection(
        "https://autos:1", TOKEN, Path("ca"), Path("cert"), Path("key")
    )
    assert Connection.from_env({"AUTOS_ADDRESS": ""}) == Connection()
