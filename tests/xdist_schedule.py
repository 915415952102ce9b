"""Decide which test files share a process of `make test`, and which begin first.

The slowest files begin first, so that no process is left alone with one at the end. The files that
share an Autos of the session run in one process: each process would have to start its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from xdist.scheduler import LoadFileScheduling

from dev.embedded.sandbox import ROOT

# An Autos of tests/acceptance/conftest.py. A file that uses both belongs to the first.
SHARED = ("hasty", "autos")
# The parameter by which a test or a fixture requests one.
ASKS = r"(?:def test_|@pytest\.fixture[^\n]*\ndef )\w+\([^)]*\b{}: Autos\b"
# Slowest first; files without a name here come after them.
LONG = (
    "test_portal_limits.py",
    "test_kill_points.py",
    "test_chaos.py",
    "test_embedded_servers.py",
    "test_tokens.py",
)
FOLDERS = ("acceptance", "integration", "unit")


class Schedule(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Keeps files whole, in the order of their collection, and files of a shared Autos together."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid.split("::", 1)[0])


@cache
def unit_of(path: str) -> str:
    """Return what runs in one process: a shared Autos, or the file alone. Relative to the root."""
    text = (ROOT / path).read_text()
    return next((name for name in SHARED if re.search(ASKS.format(name), text)), path)


def place_of(path: str) -> tuple[int, int, int, str]:
    """Return the sort key of a file."""
    unit, folder, name = unit_of(path), Path(path).parts[1], Path(path).name
    return (_index(SHARED, unit), _index(LONG, name), _index(FOLDERS, folder), unit)


def modules() -> list[str]:
    """Return the names of all modules with tests, sorted."""
    files = (file.relative_to(ROOT).with_suffix("") for file in ROOT.glob("tests/**/test_*.py"))
    return sorted(".".join(file.parts) for file in files)


def _index(names: Sequence[str], name: str) -> int:
    return names.index(name) if name in names else len(names)
