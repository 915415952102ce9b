"""Profile with py-spy a worker and the uploader, and log every statement of PostgreSQL.

The embedded PostgreSQL has no pg_stat_statements, so the statements come from its log.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2

from tests.bench.speed.profiling import collapsed_stacks, pg_wait_sampling
from tests.bench.speed.profiling.pg_wait_sampling import WaitSamples
from tests.bench.speed.profiling.sql_normalizer import normalize
from tests.bench.speed.speed_environment import SpeedEnvironment

RATE_HZ = 100
SPIED = ("worker", "uploader", "server")
TOP = 25
WIDTH = 110
_LOGGED = re.compile(r"duration: ([\d.]+) ms  statement: ", re.M)
_ENTRY = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ ", re.M)


@dataclass
class Profile:
    """The results of profiling. `statements`: calls and milliseconds by statement."""

    files: list[Path] = field(default_factory=list)
    statements: dict[str, tuple[int, float]] = field(default_factory=dict)
    waits: WaitSamples = field(default_factory=WaitSamples)

    def summary(self, documents: int) -> str:
        """List the statements with the most time per document, and the paths of the files."""
        total_calls = sum(calls for calls, _ in self.statements.values())
        total_ms = sum(ms for _, ms in self.statements.values())
        lines = [
            f"{total_calls / documents:.2f} statements and {total_ms / documents:.3f} ms in"
            " PostgreSQL per document, as it logs them; in all",
            "    calls  per document   total ms   ms each  statement",
        ]
        top = sorted(self.statements.items(), key=lambda item: -item[1][1])[:TOP]
        for text, (calls, ms) in top:
            lines.append(
                f"  {calls:7}  {calls / documents:12.2f} {ms:10.1f} {ms / calls:9.3f}  "
                f"{text[:WIDTH]}"
            )
        lines += self.waits.lines()
        for file in self.files:
            lines.append(f"  {file}")
            if file.suffix == ".stacks":
                lines += collapsed_stacks.format_stacks(file.read_text().splitlines())
        return "\n".join(lines)


@contextmanager
def watched(stage: SpeedEnvironment, folder: Path) -> Iterator[Profile]:
    """Profile a worker, the uploader and PostgreSQL inside the block, which slows them down."""
    folder.mkdir(parents=True, exist_ok=True)
    found = Profile()
    log = stage.settings.data_dir / "log" / "postgres.log"
    _set(stage, "log_min_duration_statement", "0")
    begin = log.stat().st_size
    spies = [_spy(name, _pid(stage, name), folder, found) for name in SPIED]
    try:
        with pg_wait_sampling.watched(stage.settings.database_url) as found.waits:
            yield found
    finally:
        for spy in spies:
            spy.send_signal(signal.SIGINT)
        for spy in spies:
            spy.wait(timeout=60)
        _set(stage, "log_min_duration_statement", "-1")
    with log.open(encoding="utf-8", errors="replace") as file:
        file.seek(begin)
        text = file.read()
    found.statements = statements(text)
    (folder / "statements.txt").write_text(
        "\n".join(
            f"{calls}\t{ms:.3f}\t{text}"
            for text, (calls, ms) in sorted(found.statements.items(), key=lambda i: -i[1][1])
        )
    )
    found.files.append(folder / "statements.txt")


def _pid(stage: SpeedEnvironment, name: str) -> int:
    """Return the process that does the work."""
    if name == "server":
        return stage.stack.processes.pid_of(name) or 0
    return stage.worker_pids(name)[0]


def _spy(name: str, pid: int, folder: Path, found: Profile) -> subprocess.Popen[bytes]:
    """Run py-spy on a process until it gets SIGINT."""
    file = folder / f"{name}.stacks"
    found.files.append(file)
    py_spy = Path(sys.executable).with_name("py-spy")
    return subprocess.Popen(
        [
            *(str(py_spy), "record", "--pid", str(pid), "--rate", str(RATE_HZ)),
            *("--format", "raw", "--output", str(file), "--duration", "unlimited"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def statements(log: str) -> dict[str, tuple[int, float]]:
    """Return calls and milliseconds of each statement in PostgreSQL's log, without values."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])
    for entry in _ENTRY.split(log):
        if match := _LOGGED.search(entry):
            each = sums[normalize(entry[match.end() :])]
            each[0] += 1
            each[1] += float(match[1])
    return {text: (int(calls), ms) for text, (calls, ms) in sums.items()}


def _set(stage: SpeedEnvironment, name: str, value: str) -> None:
    """Set a variable of the whole PostgreSQL."""
    # ALTER SYSTEM cannot run in a transaction.
    with closing(psycopg2.connect(stage.settings.database_url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER SYSTEM SET {name} = {value}")
            cursor.execute("SELECT pg_reload_conf()")
