"""One embedded server: its program, the variables of its users, and its readiness check."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dev.processes.process import Program
from storage.errors import ConfigurationError


@dataclass(frozen=True)
class EmbeddedServer:
    """The description of one embedded server.

    `env`: the variables of the processes that use it. `is_ready` sends a real request and returns
    whether it was answered. `clean` runs after the server has stopped for good.
    """

    program: Program
    env: Mapping[str, str] = field(repr=False)
    is_ready: Callable[[], bool]
    clean: Callable[[], None] = lambda: None


def package_folder(name: str) -> Path:
    """Return the folder of an installed package without importing it.

    Raises ConfigurationError if it is not installed.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(f"The package {name} is not installed; run `make setup`.")
    return Path(spec.submodule_search_locations[0])
