"""Test that the contract's comments match the code, and that the contract stays compatible."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from autos.downloads.v1 import downloads_pb2 as pb
from dev.embedded.sandbox import ROOT
from server.rpc.reflection import IMAGE
from tests.contract_reasons import (
    ALL_REASONS,
    DECLARED,
    METHOD_NAMES,
    SERVICE,
    comments,
    contract,
)

REFERENCE = ROOT / "docs" / "reference"
BUF = Path(sys.executable).parent / "buf"
# Field numbers: FileDescriptorProto.message_type and DescriptorProto.field.
MESSAGES, FIELDS = 4, 2
# Reasons that the code sets where it raises the error.
RAISED = re.compile(r'(?:PreconditionFailed|\bLimit)\(\s*"([A-Z_]+)"')


def _page() -> dict[str, str]:
    """Return the reasons of the page of errors, each with its status."""
    text = (REFERENCE / "errors.md").read_text()
    rows = text.partition("| reason | status | meaning | methods |\n")[2].partition("\n\n")[0]
    return dict(re.findall(r"^\| `([A-Z_]+)` \| ([A-Z_]+) \|", rows, re.M))


def test_every_method_has_its_reasons() -> None:
    assert set(DECLARED) == {SERVICE.name, *METHOD_NAMES}
    assert DECLARED[SERVICE.name]
    for rpc in METHOD_NAMES:
        assert "\n Reasons:" in comments()[rpc]
        assert not DECLARED[SERVICE.name].keys() & DECLARED[rpc].keys()


def test_the_page_of_errors_has_the_reasons_and_statuses_of_the_contract() -> None:
    promised: dict[str, str] = {}
    for reasons in DECLARED.values():
        for reason, status in reasons.items():
            assert promised.setdefault(reason, status) == status, "one reason, one status"

    assert _page() == promised


def test_no_code_refuses_with_a_reason_that_is_not_declared() -> None:
    raised = {
        reason
        for folder in ("server", "storage")
        for file in (ROOT / folder).rglob("*.py")
        for reason in re.findall(RAISED, file.read_text())
    }

    assert raised
    assert raised <= ALL_REASONS


def _constants(enum: Any) -> set[str]:
    """Return the strings for which an enum has constants."""
    [unspecified, *names] = enum.keys()
    prefix = unspecified.removesuffix("UNSPECIFIED")
    assert all(name.startswith(prefix) for name in names)
    return {name.removeprefix(prefix) for name in names}


def test_every_reason_has_its_constant() -> None:
    page = (REFERENCE / "document-failures.md").read_text()
    failures = page.partition("| reason | meaning | attempts |\n")[2].partition("\n\n")[0]
    reasons = {
        reason
        for row in failures.splitlines()[1:]
        for reason in re.findall(r"`([A-Z_]+)`", row.split("|")[1])
    }
    holds = set(re.findall(r"[A-Z_]{6,}", _field_comment("Hold", "reason"))) - {"UPPER_SNAKE_CASE"}

    assert len(reasons) > 10
    assert reasons | {"NO_DOCUMENT_AVAILABLE"} <= _constants(pb.FailureReason)
    assert len(holds) == 7
    assert holds <= _constants(pb.HoldReason)
    assert _constants(pb.RefusalReason) >= ALL_REASONS


def _field_comment(message: str, field: str) -> str:
    file = contract()
    [(i, found)] = [(i, m) for i, m in enumerate(file.message_type) if m.name == message]
    [k] = [k for k, f in enumerate(found.field) if f.name == field]
    path = [MESSAGES, i, FIELDS, k]
    [place] = [p for p in file.source_code_info.location if list(p.path) == path]
    return place.leading_comments


CHANGES = {
    "a field renamed": ("string process_number = 1;", "string case_number = 1;"),
    "a field dropped": ("  Priority priority = 5;\n", ""),
    "a number changed": ("Hold hold = 17;", "Hold hold = 27;"),
}


def test_what_would_break_callers_is_refused(tmp_path: Path) -> None:
    contract = (ROOT / "proto" / pb.DESCRIPTOR.name).read_text()
    for name, (given, changed) in CHANGES.items():
        assert given in contract, name
        folder = tmp_path / name.replace(" ", "-")
        file = folder / pb.DESCRIPTOR.name
        file.parent.mkdir(parents=True)
        file.write_text(contract.replace(given, changed, 1))

        done = subprocess.run(
            (BUF, "breaking", folder, "--against", IMAGE),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

        assert done.returncode != 0, name
        assert pb.DESCRIPTOR.name in done.stdout, done.stderr
