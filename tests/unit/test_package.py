"""Test the package `autos`: its public names, and the modules that its messages import."""

from __future__ import annotations

import os
import subprocess
import sys

import autos
from dev.embedded.sandbox import ROOT

LOADED = """
import sys, actors.contract_messages
print(sorted({"grpc", "autos._client.sync_client", "rich"} & set(sys.modules)))
"""


def test_every_public_name_is_there() -> None:
    found = {name: getattr(autos, name) for name in autos.__all__}

    assert found["Client"] is autos.Client
    assert found["AutosError"] is autos.errors.AutosError
    assert set(autos.__all__) <= set(dir(autos))
    errors = {kind.__name__ for kind in autos.AutosError.__subclasses__()}
    assert errors <= set(autos.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    assert not hasattr(autos, "Nothing")


def test_the_workers_messages_load_neither_grpc_nor_the_client() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "proto")},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "[]\n"
