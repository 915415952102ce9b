"""Run the commands that build the image, in a folder in place of the image's /srv.

No container daemon is needed. pip fetches what the lock names, so this needs the package registry.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from dev.embedded.sandbox import ROOT
from tests.system.deploy_files import build_commands, copied_folders

PLACE = "/srv"
# Each imports everything that its process needs before the settings are read.
MODULES = ("server.rpc.service", "actors.tasks", "storage.release", "autos.cli.main")
GENERATORS = ("grpc_tools", "setuptools")


def build(folder: Path) -> Path:
    """Build `folder` as the Dockerfile builds /srv; return its Python.

    Raises CalledProcessError with the command that failed.
    """
    checkout = folder / "autos"
    checkout.mkdir(parents=True)
    for name in copied_folders():
        _copy(ROOT / name, checkout / Path(name).name)
    # The Python of the image is its base's.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    for words in build_commands():
        command = [word.replace(PLACE, str(folder)) for word in words]
        subprocess.run(command, check=True, cwd=checkout, env={**os.environ, "PATH": path})
    return folder / "venv" / "bin" / "python"


def check(python: Path) -> None:
    """Import what the image runs. Raises CalledProcessError if anything is missing, or in excess.

    `python` is what `build` returned.
    """
    checkout = python.parents[2] / "autos"
    alone = {"PATH": os.defpath, "DATA_DIR": str(checkout / "data")}
    left = f"import importlib.util as u; assert not [n for n in {GENERATORS} if u.find_spec(n)]"
    for code in (*(f"import {name}" for name in MODULES), left):
        subprocess.run([python, "-c", code], check=True, cwd=checkout, env=alone)
    subprocess.run([python, "-m", "pip", "check"], check=True, cwd=checkout, env=alone)
    subprocess.run([python.with_name("autos"), "--version"], check=True, env=alone)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    else:
        shutil.copy(source, target)
