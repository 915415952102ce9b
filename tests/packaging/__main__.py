"""`python -m tests.packaging [PYTHON ...]`: test the package as its users install it.

Needs the package registry. It builds the wheel, installs it into fresh environments, beside
Google's proto-plus in both orders and with the oldest supported libraries, and uses it there
against a running Autos. For Pythons that are not installed, it checks that every wheel exists.
Then it builds what the image holds, by the Dockerfile's own commands.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path

from dev.embedded.sandbox import ROOT
from dev.stack import running_stack
from tests.packaging import image_build

GOOGLE = "google-cloud-secret-manager"
PYTHONS = ("3.11", "3.12", "3.13")
CLIENT_PROGRAM = Path(__file__).with_name("installed_client.py")
# Entries of a wheel beside its metadata.
PACKAGE = "autos"


def _run(*command: str | Path, **options: object) -> None:
    print("$", *(Path(word).name for word in map(str, command)), flush=True)
    subprocess.run(command, check=True, cwd=ROOT, **options)  # type: ignore[call-overload]


def _pip(python: str | Path, *words: str | Path) -> None:
    _run(python, "-m", "pip", *words[:1], "-qq", "--disable-pip-version-check", *words[1:])


def _oldest() -> list[str]:
    """Return the lowest versions that pyproject.toml allows, as pins."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [dependency.replace(">=", "==") for dependency in project["dependencies"]]


def _check_names(wheel: Path) -> None:
    """Raise SystemExit if the wheel contains anything beside the package."""
    names = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    strange = {name for name in names if name != PACKAGE and not name.endswith(".dist-info")}
    if strange:
        raise SystemExit(f"The wheel has {strange} beside {PACKAGE}.")


def main(pythons: Sequence[str]) -> None:
    """Run everything. Raises CalledProcessError if a step fails."""
    with tempfile.TemporaryDirectory(prefix="autos-packaging-") as name:
        folder = Path(name)
        _pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", folder, ".")
        [wheel] = folder.glob("*.whl")
        _check_names(wheel)
        for version in PYTHONS:
            only = ("--only-binary", ":all:", "--python-version", version)
            _pip(sys.executable, "download", *only, "--dest", folder / version, wheel)
        ways: dict[str, Sequence[Sequence[str | Path]]] = {
            "alone": [[wheel]],
            "after-google": [[GOOGLE], [wheel]],
            "before-google": [[wheel], [GOOGLE]],
            "oldest": [[wheel, *_oldest()]],
        }
        settings = {"DATA_DIR": str(folder / "data")}
        with running_stack(settings, lambda _: None, is_announced=False) as stack:
            env = {"AUTOS_ADDRESS": stack.run_file.address, "PYTHONWARNINGS": "error"}
            for python in pythons or (sys.executable,):
                for way, installs in ways.items():
                    if way == "oldest" and pythons:
                        continue  # These have no wheels for Pythons that are newer than they are.
                    home = folder / f"{Path(python).name}-{way}"
                    _run(python, "-m", "venv", home)
                    for packages in installs:
                        _pip(home / "bin" / "python", "install", *packages)
                    _run(home / "bin" / "python", CLIENT_PROGRAM, env=env)
        image_build.check(image_build.build(folder / "srv"))


if __name__ == "__main__":
    main(sys.argv[1:])
