"""Store the latencies of a run for the simulation."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tests.bench.traffic.journal_figures import GOOD
from tests.sandbox.admission import Visit

FILE = Path(__file__).with_name("latencies.json")
MOST = 500


def write(file: Path, visits: Iterable[Visit]) -> None:
    """Write the portal's latencies of the first good answers, in milliseconds."""
    took = [v.end - v.begin for v in visits if v.status == GOOD and v.end is not None]
    milliseconds = [round(seconds * 1000) for seconds in took[:MOST]]
    lines = [", ".join(map(str, milliseconds[i : i + 20])) for i in range(0, MOST, 20)]
    text = ",\n".join(filter(None, lines))
    file.write_text(f"[\n{text}\n]\n", encoding="utf-8")


def read(file: Path = FILE) -> list[float]:
    """Return the recorded latencies, in seconds."""
    return [milliseconds / 1000 for milliseconds in json.loads(file.read_text(encoding="utf-8"))]
