"""Measure documents per second and their cost, beside a plain loop, rclone and a task per case."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from rich.console import Console

from tests.bench.speed.baselines.baselines import (
    Autos,
    Cases,
    Classic,
    Contender,
    Loop,
    Rclone,
    alone,
    running_classic,
)
from tests.bench.speed.goals import Goal, Result, at_least, at_most
from tests.bench.speed.portals.static_portal import Page, StaticPortal, running_static_portal
from tests.bench.speed.profiling import profiles
from tests.bench.speed.profiling.cpu_time import CpuMeter
from tests.bench.speed.run_config import RunConfig
from tests.bench.speed.speed_environment import SpeedEnvironment, running_environment, scratch

NAME = "throughput"
KIB = 1024
LOOP, OURS, RCLONE, CLASSIC = "loop", "autos", "rclone", "celery"
# Minimum: the fraction of the loop's documents per second. Maximum: the multiple of its CPU time.
GOALS = {20: (0.8, 1.6), 200: (1.0, 1.25)}
OF_CLASSIC = 2.0
DOCUMENTS = 20
WARM_UP = 2


@dataclass(frozen=True)
class Lap:
    """The figures of one contender in one round. `servers_s`: the CPU seconds of each server.

    `others`: the number of CPUs that all other processes used meanwhile, including start-up.
    """

    documents: int
    seconds: float
    cpu_s: float
    servers_s: Mapping[str, float]
    others: float

    @property
    def per_s(self) -> float:
        """Return the documents per second."""
        return self.documents / self.seconds

    @property
    def cpu_ms(self) -> float:
        """Return the CPU milliseconds per document."""
        return 1000 * self.cpu_s / self.documents


@dataclass
class Track:
    """The contenders, their environment, and their results."""

    stage: SpeedEnvironment
    portal: StaticPortal
    classic: Classic
    contenders: Mapping[str, Contender]
    laps: dict[int, dict[str, list[Lap]]] = field(default_factory=dict)

    def run(self, name: str, round_: int, size_kib: int, pages: list[Page]) -> Lap:
        """Run one lap of one contender alone and check its result."""
        cases = self._cases(pages)
        prefix = f"{name}/{round_}/{size_kib}/"
        idle = {OURS: self.stage.our_pids, CLASSIC: [self.classic.leader]}
        others = [pid for who, pids in idle.items() if who != name for pid in pids]
        servers = {**self.stage.server_pids(), "nginx": [self.portal.pid]}
        with alone(others):
            meter, begun = CpuMeter(servers), time.monotonic()
            took = self.contenders[name].fetch(cases, prefix)
            spent, whole_s = meter.read(), time.monotonic() - begun
        _check(self.stage, cases, None if name == OURS else prefix)
        machine = spent.pop("machine")
        return Lap(
            sum(map(len, cases.values())),
            took.seconds,
            took.cpu_s,
            spent,
            (machine - took.cpu_s - sum(spent.values())) / whole_s,
        )

    def _cases(self, pages: list[Page]) -> Cases:
        parts = [pages[i : i + DOCUMENTS] for i in range(0, len(pages), DOCUMENTS)]
        return {
            number: self.portal.add_case(number, part)
            for part in parts
            for number in [self.stage.new_number()]
        }


def run(config: RunConfig, console: Console) -> Result:
    """Run all rounds."""
    jobs = 8 if config.is_quick else 25
    with _track() as track:
        shelves = {size: track.portal.shelf(jobs * DOCUMENTS, size * KIB) for size in GOALS}
        _warm_up(track, shelves)
        for round_ in range(1, config.rounds + 1):
            for size, pages in shelves.items():
                for name in track.contenders:
                    lap = track.run(name, round_, size, pages)
                    track.laps.setdefault(size, {}).setdefault(name, []).append(lap)
                    console.print(
                        f"  round {round_}, {size} KiB, {_format_lap(name, lap)}", style="dim"
                    )
        notes = []
        if config.is_profiled:
            notes = _profile(track, shelves, config)
    goals = [goal for size in GOALS for goal in _goals(size, track.laps[size])]
    figures = {
        f"{size} KiB": {name: [_figures(lap) for lap in laps] for name, laps in by_name.items()}
        for size, by_name in track.laps.items()
    }
    notes = [_summary(size, laps) for size, laps in track.laps.items()] + notes
    return Result(NAME, goals, figures, notes)


@contextmanager
def _track() -> Iterator[Track]:
    lines: list[str] = []
    with (
        scratch() as folder,
        running_static_portal(folder, lines.append) as portal,
        running_environment(portal.url) as stage,
        running_classic(stage, portal) as classic,
    ):
        contenders: dict[str, Contender] = {
            LOOP: Loop(stage, portal),
            OURS: Autos(stage),
            RCLONE: Rclone(stage, portal),
            CLASSIC: classic,
        }
        yield Track(stage, portal, classic, contenders)


def _warm_up(track: Track, shelves: Mapping[int, list[Page]]) -> None:
    """Let every contender import, connect and allocate once before the measurement."""
    for size, pages in shelves.items():
        for name in track.contenders:
            track.run(name, 0, size, pages[: WARM_UP * DOCUMENTS])


def _check(stage: SpeedEnvironment, cases: Cases, prefix: str | None) -> None:
    """Raise AssertionError unless the bucket holds exactly these bytes.

    `prefix` None: under the keys that the rows of Autos name, with the hashes that they name.
    """
    wanted = {each.href.split("/")[-2]: each.page for pages in cases.values() for each in pages}
    if prefix is None:
        rows = stage.all(
            "SELECT split_part(hrefs[1], '/', 5) AS uuid, sha256, object_key FROM documents"
            " JOIN jobs USING (job_id) WHERE process_number = ANY(%(numbers)s)",
            numbers=list(cases),
        )
        assert len(rows) == len(wanted), f"{len(rows)} rows for {len(wanted)} documents"
        assert all(row["sha256"] == wanted[row["uuid"]].sha256 for row in rows)
        expected = {row["object_key"]: wanted[row["uuid"]].md5 for row in rows}
        digits = ["".join(filter(str.isdigit, number)) for number in cases]
        prefixes = [f"default/processos/{number}/" for number in digits]
    else:
        expected = {f"{prefix}{uuid}.pdf": page.md5 for uuid, page in wanted.items()}
        prefixes = [prefix]
    found = {
        str(item.object_name): str(item.etag).strip('"')
        for each in prefixes
        for item in stage.bucket.list_objects(stage.settings.s3_bucket, each, recursive=True)
    }
    assert found == expected, f"{len(found)} objects, {len(expected)} expected, or other bytes"


def _goals(size: int, laps: Mapping[str, list[Lap]]) -> list[Goal]:
    speed, cost = GOALS[size]

    def ratios(of: str, name: str) -> list[float]:
        pairs = zip(laps[OURS], laps[of], strict=True)
        return [getattr(ours, name) / getattr(other, name) for ours, other in pairs]

    return [
        at_least(f"{size} KiB: documents/s, of the loop's", speed, ratios(LOOP, "per_s"), " x"),
        at_most(f"{size} KiB: CPU per document, of the loop's", cost, ratios(LOOP, "cpu_ms"), " x"),
        at_least(
            f"{size} KiB: documents/s, of Celery's", OF_CLASSIC, ratios(CLASSIC, "per_s"), " x"
        ),
    ]


def _figures(lap: Lap) -> dict[str, object]:
    return {**asdict(lap), "per_s": lap.per_s, "cpu_ms": lap.cpu_ms}


def _format_lap(name: str, lap: Lap) -> str:
    return f"{name}: {lap.per_s:.0f}/s, {lap.cpu_ms:.2f} ms of CPU each"


def _summary(size: int, by_name: Mapping[str, list[Lap]]) -> str:
    """Return a line of medians for each contender."""
    lines = [f"{size} KiB, medians of documents/s, and CPU per document, own and the servers':"]
    for name, laps in by_name.items():
        servers = {
            server: statistics.median(1000 * lap.servers_s[server] / lap.documents for lap in laps)
            for server in laps[0].servers_s
        }
        per_s = statistics.median(lap.per_s for lap in laps)
        cpu_ms = statistics.median(lap.cpu_ms for lap in laps)
        others = statistics.median(lap.others for lap in laps)
        servers_ms = ", ".join(f"{server} {each:.2f}" for server, each in servers.items())
        lines.append(
            f"  {name:7} {per_s:5.0f}/s  {cpu_ms:5.2f} ms  ({servers_ms} ms;"
            f" all else on this machine {others:.2f} processors)"
        )
    return "\n".join(lines)


def _profile(track: Track, shelves: Mapping[int, list[Page]], config: RunConfig) -> list[str]:
    """Profile one more lap of Autos for each size."""
    notes = []
    for size, pages in shelves.items():
        with profiles.watched(track.stage, config.folder / f"profile-{size}KiB") as found:
            track.run(OURS, 1000, size, pages)
        notes.append(f"{size} KiB: {found.summary(len(pages))}")
    return notes
