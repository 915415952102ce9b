"""One embedded server: a program, what its users must set, and how to see that it is ready."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dev.processes.process import Program
from storage.errors import ConfigurationError


@dataclass(frozen=True)
class EmbeddedServer:
    """What there is to know about one.

    `env` is for those who use it. `is_ready` asks it something real and says whether it answered.
    `clean` runs after its last end.
    """

    program: Program
    env: Mapping[str, str] = field(repr=False)
    is_ready: Callable[[], bool]
    clean: Callable[[], None] = lambda: None


def package_folder(name: str) -> Path:
    """The folder of an installed package, of which nothing is executed.

    Raises ConfigurationError if it is not installed.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(
            f"The package {name} is not installed; run `make` or install requirements-dev.txt."
        )
    return Path(spec.submodule_search_locations[0])
