"""The files of a flow, from the lines that its processes wrote."""

from __future__ import annotations

import pytest

from tests.flows.flow_files import Flow, files_of, is_product, report

FLOW = Flow("flow", frozenset({"worker"}), 2)
SQL = {"claim": "storage/sql/portal/claim.sql", "pick": "storage/sql/portal/pick.sql"}
CALLEES = {"claim": ("pick",), "pick": ()}


def _line(
    window: int,
    file: str,
    function: str = "f",
    *,
    role: str = "worker",
    caller: str = "Thread-1",
) -> str:
    return f"{window}\t{role}\t{caller}\t{file}\t{function}\n"


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("server/rpc/service.py", True),
        ("proto/autos/errors.py", True),
        ("storage/telemetry/signals.py", False),
        ("server/observability/rpc_metrics.py", False),
        ("proto/autos/downloads/v1/downloads_pb2_grpc.py", False),
        ("tests/sandbox/portal.py", False),
        (".venv/lib/redis/client.py", False),
    ],
)
def test_only_the_product_counts(file: str, counts: bool) -> None:
    assert is_product(file) is counts


def test_a_file_counts_that_ran_in_every_window() -> None:
    lines = [
        _line(1, "actors/a.py", "f"),
        _line(1, "actors/timer.py"),
        _line(2, "actors/a.py", "g"),
        _line(3, "actors/other_flow.py"),
    ]
    found = files_of(FLOW, (1, 2), lines, SQL, CALLEES.__getitem__)
    assert found.functions == {"actors/a.py": frozenset({"f", "g"})}


def test_a_process_of_another_role_is_left_out() -> None:
    lines = [_line(1, "actors/a.py"), _line(1, "server/b.py", role="server")]
    found = files_of(FLOW, (1,), lines, SQL, CALLEES.__getitem__)
    assert list(found.functions) == ["actors/a.py"]


def test_a_thread_that_works_at_intervals_is_left_out() -> None:
    lines = [_line(1, "actors/a.py"), _line(1, "actors/b.py", caller="worker-polling")]
    found = files_of(FLOW, (1,), lines, SQL, CALLEES.__getitem__)
    assert list(found.functions) == ["actors/a.py"]


def test_a_function_of_sql_counts_with_those_that_it_calls() -> None:
    found = files_of(FLOW, (1,), [_line(1, "claim.sql", "claim")], SQL, CALLEES.__getitem__)
    assert list(found.functions) == sorted(SQL.values())
    assert found.rooms == {"storage/sql/portal"}


def test_the_report_shows_counts_beside_goals() -> None:
    lines = [
        _line(1, "claim.sql", "claim"),
        _line(1, "actors/a.py", "f"),
        _line(1, "actors/a.py", "g"),
    ]
    found = files_of(FLOW, (1,), lines, SQL, CALLEES.__getitem__)
    assert not found.is_within_goal
    assert report([found]).splitlines()[-1] == "| flow | 3 | 2 | 4 | 2 | 2 |"
    assert "  actors/a.py (2)" in report([found])
