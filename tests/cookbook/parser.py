"""Parse docs/howto/call-grpcurl.md into steps: each block of commands, and its printed answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dev.embedded.sandbox import ROOT

FILE = ROOT / "docs" / "howto" / "call-grpcurl.md"
# Addresses of `make run`, and of its webhook receiver.
ADDRESS = "127.0.0.1:50051"
RECEIVER = "127.0.0.1:8099"
# The address of the server with a clients file.
SECURED = "127.0.0.1:50052"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class CookbookStep:
    """A block of commands, and the answer printed below it; "" if there is none.

    `place` is the position of the answer in the text, None without one.
    """

    section: str
    line: int
    command: str
    answer: str
    place: tuple[int, int] | None


def _section_at(text: str, position: int) -> str:
    headings: list[str] = re.findall(r"^## (.*)$", text[:position], re.M)
    return headings[-1]


def steps_of(text: str) -> Iterator[CookbookStep]:
    """Return every block of language `sh`, with the block of another language that follows it."""
    blocks = list(BLOCK.finditer(text))
    for block, following in zip(blocks, [*blocks[1:], None], strict=True):
        if block[1] != "sh":
            continue
        has_answer = following is not None and following[1] != "sh"
        yield CookbookStep(
            section=_section_at(text, block.start()),
            line=text.count("\n", 0, block.start()) + 2,
            command=block[2],
            answer=following[2] if following and has_answer else "",
            place=following.span(2) if following and has_answer else None,
        )
