"""The demo's output: colours and animations on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from autos.cli.live import is_live

LABEL_WIDTH = 9
PLAIN_WIDTH = 110


class DemoFailure(Exception):
    """A check of the demo failed. The message is one sentence for the user."""


class DemoConsole:
    """Standard output. `is_live`: it is a terminal, on which lines can change."""

    def __init__(self) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace", line_buffering=True)
        self.is_live = is_live()
        # Set explicitly, because FORCE_COLOR and similar variables would colour a pipe.
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
        """Print a permanent line."""
        self.console.print(Text(text, style), soft_wrap=True)

    def done(self, label: str, *lines: str) -> None:
        """Print a success: a line with a tick, and further lines with details."""
        self._marked(Text("✓ " if self.is_utf8 else "+ ", "green"), label, lines)

    def missed(self, label: str, *lines: str) -> None:
        """Print a failure: a line with a cross, and further lines with the cause."""
        self._marked(Text("✗ " if self.is_utf8 else "x ", "red"), label, lines)

    def _marked(self, mark: Text, label: str, lines: Sequence[str]) -> None:
        first, *more = lines
        start = mark.append(f"{label:{LABEL_WIDTH}}", "bold default")
        self.console.print(start.append(first, "default"), soft_wrap=True)
        for line in more:
            self.line(f"{'':{LABEL_WIDTH + 2}}{line}", "dim")

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Show `what` while the context is open: as an animation, or once as a plain line."""
        if self.is_live:
            with self.console.status(Text(what)):
                yield
        else:
            self.line(f"{what} ...")
            yield

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows below their column names. A leading ">" of a name aligns its column right."""
        lines = [[name.lstrip(">") for name in columns], *rows]
        widths = [max(map(cell_len, cells)) for cells in zip(*lines, strict=True)]
        for number, cells in enumerate(lines):
            row = [
                cell.rjust(width) if name.startswith(">") else set_cell_size(cell, width)
                for name, cell, width in zip(columns, cells, widths, strict=True)
            ]
            self.line(f"  {'  '.join(row).rstrip()}", "" if number else "dim")

    def fail(self, sentence: str) -> int:
        """Print the final error to stderr. Return the exit code."""
        is_coloured = self.is_live and sys.stderr.isatty()
        print(f"\x1b[1;31m{sentence}\x1b[0m" if is_coloured else sentence, file=sys.stderr)
        return 1
