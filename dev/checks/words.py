"""Checks the language of pages, docstrings and comments, and the length of Markdown lines.

docs/development/style.md has the rules. Words are counted in prose: code in pages does not count.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
# Each room by itself: a clean one does not make up for another.
COVERED: Mapping[str, tuple[str, ...]] = {
    "pages": ("*.md", "docs"),
    **{room: (room,) for room in ("proto", "server", "actors", "storage", "dev", "tests")},
}
SUFFIXES = (".md", ".py", ".proto", ".sql")
# Generated code, and comments that are derived from another file.
EXEMPT = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_client/sync_client.py")
LINE_MAX = 120


class Rule(NamedTuple):
    """Words that stand at most `per_1000` times in 1,000 words of a room."""

    name: str
    words: re.Pattern[str]
    per_1000: float


RULES = (
    Rule(
        "who-words",
        re.compile(
            r"\b(?:who(?:m|se)?(?:so)?ever|(?:some|any|every)(?:body|one)|nobody|no one)\b", re.I
        ),
        0.2,
    ),
    Rule("tell/say words", re.compile(r"\b(?:tell(?:s|ing)?|told|says?|said|saying)\b", re.I), 1.0),
)
_WORD = re.compile(r"[^\W\d_][\w'-]*")
_FENCE = re.compile(r"\s*(?:```|~~~)")
_INLINE_CODE = re.compile(r"``[^`]+``|`[^`]+`")
_LINK_TARGET = re.compile(r"\]\([^)]*\)|https?://\S+")


class Line(NamedTuple):
    """A line of prose."""

    place: str
    text: str


def markdown_prose(name: str, text: str) -> Iterator[Line]:
    """Yield the lines of a page, without its code and the targets of its links."""
    for number, line in _outside_fences(text):
        yield Line(f"{name}:{number}", _LINK_TARGET.sub("] ", _INLINE_CODE.sub(" ", line)))


def python_prose(name: str, text: str) -> Iterator[Line]:
    """Yield the lines of the docstrings and the comments of a Python source."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
            continue
        if isinstance(node.value.value, str):
            for i, line in enumerate(node.value.value.splitlines()):
                yield Line(f"{name}:{node.lineno + i}", _INLINE_CODE.sub(" ", line))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield Line(f"{name}:{token.start[0]}", _INLINE_CODE.sub(" ", token.string))


def comment_prose(name: str, text: str, mark: str) -> Iterator[Line]:
    """Yield the comments of a source that begin with `mark` and go to the end of their line."""
    for number, line in enumerate(text.splitlines(), start=1):
        _, found, comment = line.partition(mark)
        if found:
            yield Line(f"{name}:{number}", _INLINE_CODE.sub(" ", comment))


def broken_rules(room: str, prose: Iterable[Line]) -> list[str]:
    """Return a sentence and the places for each rule that the prose of a room breaks."""
    words, found = 0, defaultdict(list)
    for line in prose:
        words += len(_WORD.findall(line.text))
        for rule in RULES:
            for hit in rule.words.finditer(line.text):
                found[rule].append(f"{line.place}: {hit[0]}")
    problems = []
    for rule, hits in found.items():
        rate = 1000 * len(hits) / words
        if rate > rule.per_1000:
            problems.append(
                f"{room}: {rate:.2f} {rule.name} in 1,000 words, more than {rule.per_1000}"
            )
            problems.extend(hits)
    return problems


def long_lines(name: str, text: str) -> list[str]:
    """Return the place of each line of a page that is too long and is no code, table or link."""
    return [
        f"{name}:{number}: {len(line)} characters, more than {LINE_MAX}"
        for number, line in _outside_fences(text)
        if len(line) > LINE_MAX and not line.lstrip().startswith("|") and "](" not in line
    ]


def _outside_fences(text: str) -> Iterator[tuple[int, str]]:
    is_code = False
    for number, line in enumerate(text.splitlines(), start=1):
        if _FENCE.match(line):
            is_code = not is_code
        elif not is_code:
            yield number, line


def _prose(name: str, text: str) -> Iterator[Line]:
    if name.endswith(".md"):
        return markdown_prose(name, text)
    if name.endswith(".py"):
        return python_prose(name, text)
    return comment_prose(name, text, "//" if name.endswith(".proto") else "--")


def _files(parts: Iterable[str]) -> Iterator[Path]:
    for part in parts:
        path = ROOT / part
        for file in sorted(path.rglob("*") if path.is_dir() else ROOT.glob(part)):
            if file.suffix in SUFFIXES and not file.as_posix().endswith(EXEMPT):
                yield file


def main() -> int:
    """Return the exit code: 1 with each problem in a line."""
    problems: list[str] = []
    for room, parts in COVERED.items():
        texts = {p.relative_to(ROOT).as_posix(): p.read_text() for p in _files(parts)}
        problems += broken_rules(room, (line for each in texts.items() for line in _prose(*each)))
        for name, text in texts.items():
            problems += long_lines(name, text) if name.endswith(".md") else []
    if problems:
        print("\n".join([*problems, "see docs/development/style.md"]), file=sys.stderr)
        return 1
    print("the language is plain")
    return 0


if __name__ == "__main__":
    sys.exit(main())
