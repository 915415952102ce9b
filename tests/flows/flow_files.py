"""The files of a flow: those of the product that ran in each of its windows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

PRODUCT = ("server/", "actors/", "storage/", "proto/autos/")
# What observes the flows, and what protoc has written.
LEFT_OUT = ("storage/telemetry/", "server/observability/")
GENERATED = "_pb2"
# Threads and tasks that work at intervals or for watchers, whether a flow runs or not.
BESIDE_THE_FLOWS = frozenset(
    {
        *(
            "worker-polling",
            "uploader-polling",
            "notifier-polling",
            "parent-watch",
            "halt-listener",
        ),
        *("leadership", "repairs", "sweeper", "places", "heartbeat", "worker-heartbeat"),
        *("lease-renewer", "lease-guard", "metrics", "wake-ups", "poll", "clients file"),
        *("sessions", "autos.spool", "autos.portal", "autos.bucket", "autos.budget"),
    }
)


@dataclass(frozen=True)
class Flow:
    """One of the flows. `roles`: the processes that belong to it. `goal`: the most files."""

    name: str
    roles: frozenset[str]
    goal: int


@dataclass(frozen=True)
class FlowFiles:
    """The functions that ran in a flow, by file. A file of SQL has no function but itself."""

    flow: Flow
    functions: Mapping[str, frozenset[str]]

    @property
    def rooms(self) -> set[str]:
        """The folders of the files."""
        return {str(PurePosixPath(file).parent) for file in self.functions}

    @property
    def is_within_goal(self) -> bool:
        """Whether the flow runs no more files than its goal allows."""
        return len(self.functions) <= self.flow.goal


def is_product(file: str) -> bool:
    """Whether a file counts: of the product, neither telemetry nor generated."""
    return file.startswith(PRODUCT) and not file.startswith(LEFT_OUT) and GENERATED not in file


def files_of(
    flow: Flow,
    windows: Collection[int],
    lines: Iterable[str],
    sql_files: Mapping[str, str],
    callees: Callable[[str], Sequence[str]],
) -> FlowFiles:
    """Return what ran in every one of `windows`, so that what a timer begins falls out.

    `sql_files`: the file of each statement and function of SQL. `callees`: the functions that one
    of them calls in PostgreSQL.
    """
    found: dict[int, dict[str, set[str]]] = {window: {} for window in windows}
    for line in lines:
        number, role, caller, file, function = line.rstrip("\n").split("\t")
        is_of_flow = role in flow.roles and caller not in BESIDE_THE_FLOWS
        if int(number) not in found or not is_of_flow:
            continue
        functions = found[int(number)]
        if file.endswith(".sql"):
            for name in _with_callees(function, callees):
                functions[sql_files[name]] = {name}
        elif is_product(file):
            functions.setdefault(file, set()).add(function)
    common = set.intersection(*(set(functions) for functions in found.values()))
    return FlowFiles(
        flow,
        {
            file: frozenset.union(*(frozenset(functions[file]) for functions in found.values()))
            for file in sorted(common)
        },
    )


def _with_callees(name: str, callees: Callable[[str], Sequence[str]]) -> set[str]:
    names, left = {name}, [name]
    while left:
        left += (new := set(callees(left.pop())) - names)
        names |= new
    return names


def report(flows: Sequence[FlowFiles]) -> str:
    """Return the lists of files, then a table of the counts beside the goals."""
    lines: list[str] = []
    for each in flows:
        lines.append(f"{each.flow.name}:")
        lines += (f"  {file} ({len(functions)})" for file, functions in each.functions.items())
    lines += ["", "| flow | files | of which .sql | functions | rooms | goal |", "|" + "---|" * 6]
    for each in flows:
        sql = sum(file.endswith(".sql") for file in each.functions)
        functions = sum(map(len, each.functions.values()))
        lines.append(
            f"| {each.flow.name} | {len(each.functions)} | {sql} | {functions} | "
            f"{len(each.rooms)} | {each.flow.goal} |"
        )
    return "\n".join(lines)
