"""`python -m tests.stubs [--install] [--all]`: run docs/howto/generate-clients.md as printed.

Generates the stubs into build/stubs, compiles each language's program if its compiler is installed,
and runs it against a running Autos. Exit code 1 if a step fails; with --all also if one is left out
because a compiler is missing. --install installs Debian's packages first, as root.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dev.embedded.sandbox import ROOT
from dev.stack import running_stack
from tests.stubs.languages import LANGUAGES, Language

PAGE = ROOT / "docs" / "howto" / "generate-clients.md"
STUBS = ROOT / "build" / "stubs"
TIMEOUT_S = 600


def _sections() -> dict[str, dict[str, str]]:
    """Return the blocks of each section by their language; "" is the text before the first."""
    first, *others = re.split(r"^## ", PAGE.read_text(), flags=re.M)
    named = {"": first} | {each.partition("\n")[0]: each for each in others}
    return {
        name: dict(re.findall(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S))
        for name, text in named.items()
    }


def _bash(script: str, folder: Path) -> str:
    done = subprocess.run(
        ("bash", "-euo", "pipefail", "-c", script),
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    return done.stdout


def _generate(language: Language, blocks: dict[str, str]) -> None:
    folder = STUBS / language.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _bash(blocks["sh"], ROOT)
    if not any(folder.rglob("*ownloads*")):
        raise SystemExit(f"{language.name}: nothing is generated in {folder}.")


def _compile(language: Language, blocks: dict[str, str]) -> None:
    folder = STUBS / language.folder
    file = folder / language.file
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(blocks[language.block])
    _bash(language.compile, folder)


def _check_call(language: Language, address: str, expected: str) -> None:
    printed = _bash(f"{language.run} {address}", STUBS / language.folder)
    if printed != expected:
        raise SystemExit(f"{language.name} printed {printed!r} instead of {expected!r}.")


def main(arguments: Sequence[str]) -> int:
    """Return the exit code. Raises CalledProcessError or SystemExit for a step that fails."""
    sections = _sections()
    if "--install" in arguments:
        _bash(sections[""]["sh"], ROOT)
    compiled, left_out = [], []
    for language in LANGUAGES:
        _generate(language, sections[language.name])
        print(f"{language.name}: generated", flush=True)
        if not language.compiler:
            continue
        if shutil.which(language.compiler):
            _compile(language, sections[language.name])
            print(f"{language.name}: compiled", flush=True)
            compiled.append(language)
        else:
            print(f"{language.name}: not compiled, {language.compiler} is not installed")
            left_out.append(language.name)
    with (
        tempfile.TemporaryDirectory() as data,
        running_stack({"DATA_DIR": data}, lambda _: None, is_announced=False) as stack,
    ):
        for language in compiled:
            _check_call(language, stack.run_file.address, sections[""]["text"])
            print(f"{language.name}: called", flush=True)
    return 1 if left_out and "--all" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
