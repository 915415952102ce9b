"""What the demo writes to: colours and moving parts on a terminal, plain whole lines elsewhere."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

LABEL_WIDTH = 9
PLAIN_WIDTH = 110


class DemoFailure(Exception):
    """The demo did not show what it should; the message is for the user, in one sentence."""


class DemoConsole:
    """Standard output. `is_live`: it is a terminal, where lines can change."""

    def __init__(self) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace", line_buffering=True)
        self.is_live = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        # Said explicitly, because FORCE_COLOR and its like would colour a pipe.
        self.console = Console(
            force_terminal=self.is_live,
            color_system="auto" if self.is_live else None,
            width=None if self.is_live else PLAIN_WIDTH,
            highlight=False,
            markup=False,
            emoji=False,
        )
        self.is_utf8 = self.console.encoding.startswith("utf")

    def line(self, text: str = "", style: str = "") -> None:
        """A line that stays."""
        self.console.print(Text(text, style), soft_wrap=True)

    def done(self, label: str, *lines: str) -> None:
        """Something went well: a ticked line, and what there is to add."""
        self._marked(Text("✓ " if self.is_utf8 else "+ ", "green"), label, lines)

    def missed(self, label: str, *lines: str) -> None:
        """Something that is not there, and why."""
        self._marked(Text("✗ " if self.is_utf8 else "x ", "red"), label, lines)

    def _marked(self, mark: Text, label: str, lines: Sequence[str]) -> None:
        first, *more = lines
        start = mark.append(f"{label:{LABEL_WIDTH}}", "bold default")
        self.console.print(start.append(first, "default"), soft_wrap=True)
        for line in more:
            self.line(f"{'':{LABEL_WIDTH + 2}}{line}", "dim")

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Show what we wait for: for as long as we do or, plainly, once."""
        if self.is_live:
            with self.console.status(Text(what)):
                yield
        else:
            self.line(f"{what} ...")
            yield

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Rows below their columns; a column whose name begins with ">" is set to the right."""
        lines = [[name.lstrip(">") for name in columns], *rows]
        widths = [max(map(cell_len, cells)) for cells in zip(*lines, strict=True)]
        for number, cells in enumerate(lines):
            row = [
                cell.rjust(width) if name.startswith(">") else set_cell_size(cell, width)
                for name, cell, width in zip(columns, cells, widths, strict=True)
            ]
            self.line(f"  {'  '.join(row).rstrip()}", "" if number else "dim")

    def fail(self, sentence: str) -> int:
        """The last word when it failed; the exit code."""
        is_coloured = self.is_live and sys.stderr.isatty()
        print(f"\x1b[1;31m{sentence}\x1b[0m" if is_coloured else sentence, file=sys.stderr)
        return 1


def shown(text: str, width: int) -> str:
    """What a court wrote, fit for a terminal: no control or bidi characters, at most `width`."""
    clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return clean if len(clean) <= width else clean[: width - 1] + "…"
