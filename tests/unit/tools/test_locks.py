"""Test the check that the locked requirements fit their sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from dev.checks.locks import LOCKED, ROOT, problems_of

HASH = "--hash=sha256:" + "0" * 64
SOURCE = "-e .  # the checkout\nA_b==1.0  # a reason\nold==2 ; python_version < '3.11.3'\n"
PINS = ("a-b==1.0", "old==2 ; python_version < '3.11.3'")
LOCK = "# by a tool\n" + "".join(f"{pin} \\\n    {HASH} \\\n    {HASH}\n" for pin in PINS)


def tree(root: Path, *, lock: str, source: str = SOURCE) -> Path:
    """Write a source that includes another one, and their locks; return their folder."""
    (root / LOCKED).mkdir(parents=True)
    (root / "requirements.txt").write_text(source)
    (root / "requirements-dev.txt").write_text("-r requirements.txt\nc==3\n")
    (root / LOCKED / "requirements.txt").write_text(lock)
    (root / LOCKED / "requirements-dev.txt").write_text(lock + f"c==3 \\\n    {HASH}\n")
    return root


def test_this_checkout_has_locks_that_fit_and_name_no_registry() -> None:
    assert problems_of(ROOT) == []
    for path in [*ROOT.glob("requirements*.txt"), *(ROOT / LOCKED).iterdir()]:
        assert "://" not in path.read_text()


def test_a_lock_with_the_pins_of_its_source_fits(tmp_path: Path) -> None:
    assert problems_of(tree(tmp_path, lock=LOCK)) == []


@pytest.mark.parametrize(
    ("lock", "problem"),
    [
        (LOCK.replace("1.0", "1.1"), "lacks a-b==1.0 of its source"),
        (LOCK.replace("'3.11.3'", "'3.12'"), "lacks old==2 ; python_version < '3.11.3'"),
        (LOCK + f"d==4 \\\n    {HASH}\n", "requirements.txt lacks d==4 of its lock"),
        (LOCK + "e==5\n", "no pin with hashes: e==5"),
        (LOCK.replace("0" * 64, "0" * 63), "no pin with hashes: a-b==1.0"),
        ("--index-url https://registry.example\n" + LOCK, "no pin with hashes: --index-url"),
    ],
)
def test_a_lock_that_does_not_fit_is_named(tmp_path: Path, lock: str, problem: str) -> None:
    problems = problems_of(tree(tmp_path, lock=lock))
    assert any(problem in line for line in problems), problems


def test_a_source_without_exact_pins_and_a_missing_lock_are_named(tmp_path: Path) -> None:
    tree(tmp_path, lock=LOCK, source=SOURCE + "loose>=1\n")
    (tmp_path / LOCKED / "requirements-dev.txt").unlink()
    assert problems_of(tmp_path) == [
        "deploy/locked/requirements-dev.txt is missing",
        "requirements.txt: no exact pin: loose>=1",
    ]
