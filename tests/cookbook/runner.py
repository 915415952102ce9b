"""Run the steps as they are printed, in bash.

The first section runs first; the others begin with the variables that it has set. Sections that
only read run concurrently; one that changes a job runs alone, in its turn.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from dev.embedded.sandbox import ROOT
from tests.cookbook.parser import CookbookStep

READY = "ready\n"
CHANGING = re.compile(r"/(?:CancelJob|RetryJob|RedeliverWebhook|StartDownloads)\b")


def _script(steps: Sequence[CookbookStep], folder: Path) -> str:
    numbered = {id(step): number for number, step in enumerate(steps)}

    def lines(section: Sequence[CookbookStep]) -> str:
        # Braces, not a subshell: the next step needs the variables of this one.
        return "".join(
            f"{{\n{step.command}}} >{folder}/{numbered[id(step)]} 2>&1\n" for step in section
        )

    first, *others = (list(group) for _, group in groupby(steps, key=lambda step: step.section))
    rest = "".join(
        f"wait\n(\n{lines(section)})\n" if _is_changing(section) else f"(\n{lines(section)}) &\n"
        for section in others
    )
    return f"{lines(first)}printf {READY!r}\nread -r _\n{rest}wait\n"


def _is_changing(section: Sequence[CookbookStep]) -> bool:
    return any(CHANGING.search(step.command) for step in section)


def run_steps(
    steps: Sequence[CookbookStep],
    settle: Callable[[], None],
    replaced: Mapping[str, str],
    environ: Mapping[str, str],
    *,
    timeout_s: float,
) -> list[str]:
    """Return the output of each step, from both streams. Raises TimeoutExpired.

    `settle` is called between the first section and the others: it waits until no job changes any
    more. `replaced` maps addresses of the text to those in use. `environ` has additional variables.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = _script(steps, folder)
        for given, used in replaced.items():
            script = script.replace(given, used)
        _run(script, settle, environ, timeout_s)
        answers = [(folder / str(number)).read_text() for number in range(len(steps))]
    for given, used in replaced.items():
        answers = [answer.replace(used, given) for answer in answers]
    return answers


def _run(
    script: str, settle: Callable[[], None], environ: Mapping[str, str], timeout_s: float
) -> None:
    with subprocess.Popen(
        ("bash", "-c", script),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environ},
        start_new_session=True,
    ) as bash:
        assert bash.stdin
        assert bash.stdout
        try:
            line = bash.stdout.readline()
            assert line == READY, line
            settle()
            rest, _ = bash.communicate("\n", timeout=timeout_s)
            assert rest == ""
        except BaseException:
            os.killpg(bash.pid, signal.SIGKILL)
            raise
