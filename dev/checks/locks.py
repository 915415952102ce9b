"""Checks that the locked requirements fit their sources, without a network.

`deploy/locked/NAME` must have the pins of `NAME` and of the files that it includes, each with the
hashes of its files, and nothing else: no other package, no option, no address of a registry.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCKED = Path("deploy/locked")
SOURCES = "requirements*.txt"
# The checkout itself: it has no file that a hash could be made of.
CHECKOUT = "-e ."

_COMMENT = re.compile(r"(^|\s)#.*$")
_PIN = re.compile(r"(?P<name>[\w.-]+)==(?P<version>[\w.!+]+)(?:\s*;\s*(?P<marker>[^\\]+))?$")
_HASH = re.compile(r"\s--hash=sha256:[0-9a-f]{64}(?=\s|$)")
_NAME_MARKS = re.compile(r"[-_.]+")


def _lines(path: Path) -> Iterator[str]:
    """Yield the logical lines of a file, without comments."""
    lines = (_COMMENT.sub("", line).rstrip() for line in path.read_text().splitlines())
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        if line.strip():
            yield line.strip()


def _pin(line: str) -> str | None:
    """Return a pin in one spelling, with its marker; None if the line is none."""
    match = _PIN.match(line)
    if match is None:
        return None
    name = _NAME_MARKS.sub("-", match["name"]).lower()
    marker = " ".join((match["marker"] or "").replace('"', "'").split())
    return f"{name}=={match['version']}" + (f" ; {marker}" if marker else "")


def pinned(path: Path, problems: list[str]) -> set[str]:
    """Return the pins of a source and of the files that it includes.

    A line that is neither a pin nor a file that is included is added to `problems`.
    """
    pins: set[str] = set()
    for line in _lines(path):
        option, _, name = line.partition(" ")
        if option == "-r":
            pins |= pinned(path.parent / name.strip(), problems)
        elif (pin := _pin(line)) is not None:
            pins.add(pin)
        elif line != CHECKOUT:
            problems.append(f"{path.name}: no exact pin: {line}")
    return pins


def locked(path: Path, problems: list[str]) -> set[str]:
    """Return the pins of a lock. A line that is no pin with hashes is added to `problems`."""
    pins: set[str] = set()
    for line in _lines(path):
        pin = _pin(_HASH.sub("", line).strip())
        if pin is None or not _HASH.search(line):
            problems.append(f"{LOCKED / path.name}: no pin with hashes: {line[:60]}")
        else:
            pins.add(pin)
    return pins


def problems_of(root: Path) -> list[str]:
    """Return a sentence for each difference between the sources and their locks."""
    problems: list[str] = []
    names = {path.name for path in root.glob(SOURCES)}
    others = {path.name for path in (root / LOCKED).glob("*.txt")}
    problems += [f"{LOCKED / name} is missing" for name in sorted(names - others)]
    problems += [f"{LOCKED / name} has no source" for name in sorted(others - names)]
    for name in sorted(names & others):
        source = pinned(root / name, problems)
        lock = locked(root / LOCKED / name, problems)
        problems += [f"{LOCKED / name} lacks {pin} of its source" for pin in sorted(source - lock)]
        problems += [f"{name} lacks {pin} of its lock" for pin in sorted(lock - source)]
    return list(dict.fromkeys(problems))


def main() -> int:
    """Return the exit code: 1 with each problem in a line."""
    problems = problems_of(ROOT)
    if problems:
        print("\n".join([*problems, "pin what is missing, then run `make lock`"]), file=sys.stderr)
        return 1
    print("the locked requirements fit their sources")
    return 0


if __name__ == "__main__":
    sys.exit(main())
