"""The options of every command that calls Autos: where it is, and how long a call may take."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from autos._client.connection import ADDRESS, Connection
from autos.cli.option_values import seconds
from autos.errors import WrongSettings

TIMEOUT_S = 10.0


def add_connection_options(common: argparse.ArgumentParser) -> None:
    """Add the options."""
    common.add_argument("--json", action="store_true", help="JSON, one object a line")
    where = common.add_argument_group("where Autos is")
    where.add_argument("--address", metavar="HOST:PORT", help=f"default {ADDRESS}")
    where.add_argument("--token-file", metavar="FILE", help="has the bearer token; - is stdin")
    where.add_argument("--ca-file", metavar="FILE", help="the server's CA; means TLS")
    where.add_argument("--cert-file", metavar="FILE", help="client certificate, for mutual TLS")
    where.add_argument("--key-file", metavar="FILE", help="its key")
    where.add_argument(
        "--timeout",
        type=seconds,
        default=TIMEOUT_S,
        metavar="S",
        help="seconds that each call is tried, default %(default)g",
    )


def connection(options: argparse.Namespace, env: Mapping[str, str]) -> Connection:
    """Return the connection. Flags take precedence over the environment. Raises WrongSettings."""
    flags = {
        "AUTOS_ADDRESS": options.address,
        "AUTOS_TOKEN": options.token_file and _token(options.token_file),
        "AUTOS_CA_FILE": options.ca_file,
        "AUTOS_CERT_FILE": options.cert_file,
        "AUTOS_KEY_FILE": options.key_file,
    }
    return Connection.from_env({**env, **{k: v for k, v in flags.items() if v is not None}})


def _token(file: str) -> str:
    """Return the token in a file; "-" is standard input. Raises WrongSettings.

    The token is not a flag, since every user of the machine can read the flags of a process.
    """
    try:
        text = sys.stdin.readline() if file == "-" else Path(file).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongSettings(f"--token-file {file} cannot be read as a token.") from error
    if not text.strip():
        raise WrongSettings(f"--token-file {file} holds no token.")
    return text.strip()
