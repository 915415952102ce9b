"""`python -m tests.mutants [WORD ...]`: remove one safeguard at a time; the tests must fail.

It works on a copy of the tree, so the tree itself is unchanged. WORDs choose mutants by name.
Prints a table; the exit code is 1 if a mutant survives.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dev.embedded.sandbox import ROOT
from tests.mutants.catalogue import MUTANTS, Mutant

LEFT_OUT = (".venv", ".git", "var", "__pycache__", ".*_cache", ".hypothesis", ".library")
RED, GREEN = 1, 0
# The slowest file takes two minutes here.
LIMIT_S = 600
ENDLESS = "does_not_end"
CAUGHT_BY = re.compile(r"^(?:FAILED|ERROR) (\S+?)(?:\[.*?)?(?: - .*)?$", re.MULTILINE)


class CannotTell(Exception):
    """The run gives no verdict: a text is missing, or pytest itself failed."""


def main() -> int:
    """Return the exit code: 0 if every mutant was caught."""
    arguments = _arguments()
    chosen = [m for m in MUTANTS if all(word in m.without for word in arguments.words)]
    with tempfile.TemporaryDirectory(prefix="autos-mutants-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
        if not arguments.no_baseline:
            _must_be_green(tree, chosen)
        found = [(mutant, _caught_by(tree, mutant)) for mutant in chosen]
    print(_table(found))
    survivors = [mutant.without for mutant, test in found if test is None]
    print(f"{len(found) - len(survivors)} of {len(found)} noticed; survived: {survivors}")
    return 1 if survivors else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Do the tests see what is missing?")
    parser.add_argument("words", nargs="*", help="only mutants whose name has all of these words")
    parser.add_argument("--no-baseline", action="store_true", help="without the green run at first")
    return parser.parse_args()


def _must_be_green(tree: Path, mutants: Sequence[Mutant]) -> None:
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    exit_code, output = _pytest(tree, tests)
    if exit_code != GREEN:
        raise CannotTell(f"The tests fail with nothing taken out:\n{output}")


def _caught_by(tree: Path, mutant: Mutant) -> str | None:
    """Return the first failed test, or None if the mutant survived. Raises CannotTell."""
    file = tree / mutant.file
    whole = file.read_text(encoding="utf-8")
    if whole.count(mutant.old) != 1:
        raise CannotTell(f"{mutant.without}: {mutant.old!r} is not once in {mutant.file}")
    file.write_text(whole.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        exit_code, output = _pytest(tree, mutant.tests)
    finally:
        file.write_text(whole, encoding="utf-8")
    if exit_code not in (RED, GREEN):
        raise CannotTell(f"{mutant.without}: pytest ended with {exit_code}:\n{output}")
    match = CAUGHT_BY.search(output)
    test = match[1] if match and exit_code == RED else None
    print(f"{'noticed ' if test else 'SURVIVED'} {mutant.without} {test or ''}", flush=True)
    return test


def _pytest(tree: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Return exit code and output; a timeout counts as a failure."""
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests],
        cwd=tree,
        # An installed `autos` is that of the tree without mutants.
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(tree / "proto")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as running:
        try:
            output, _ = running.communicate(timeout=LIMIT_S * len(tests))
        except subprocess.TimeoutExpired:
            running.kill()  # This also kills the processes that it started.
            output, _ = running.communicate()
            return RED, f"{output}\nFAILED {tests[0]}::{ENDLESS}\n"
    return running.returncode, output


def _table(found: Sequence[tuple[Mutant, str | None]]) -> str:
    lines = ["| taken out | where | noticed by |", "|---|---|---|"]
    for mutant, test in found:
        lines.append(f"| {mutant.without} | `{mutant.file}` | {_shown(test)} |")
    return "\n".join(lines)


def _shown(test: str | None) -> str:
    if test is None:
        return "**no test**"
    file, _, name = test.partition("::")
    return f"`{Path(file).stem}`: {name.removeprefix('test_').replace('_', ' ')}"


if __name__ == "__main__":
    sys.exit(main())
