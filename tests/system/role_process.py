"""A role of the Procfile, begun by a wrapper of the tests. It imports nothing of the product."""

from __future__ import annotations

import sys
from pathlib import Path

from dev.processes.supervisor import read_procfile

ROOT = Path(__file__).resolve().parents[2]


def run_role(role: str) -> int:
    """Run the server or a role of the actors in this process. Return its exit code."""
    if role == "server":
        from server.__main__ import main as serve

        return serve()
    from actors.__main__ import main as work

    # Dramatiq reads its settings from the environment when it is imported.
    assert "dramatiq" not in sys.modules, "Dramatiq would miss its settings"
    return work([role])


def write_procfile(file: Path, module: str, *arguments: str) -> Path:
    """Write the Procfile with `python -m module ROLE arguments` for each role but `release`."""
    lines = [
        f"{name}: {command}"
        if name == "release"
        else f"{name}: {' '.join(('python', '-m', module, name, *arguments))}"
        for name, command in read_procfile(ROOT / "Procfile").items()
    ]
    file.write_text("\n".join(lines))
    return file
