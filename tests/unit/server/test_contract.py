"""Test that the contract's comments match the code, and that the contract stays compatible."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2

from autos.downloads.v1 import downloads_pb2 as pb
from dev.embedded.sandbox import ROOT
from server.errors.error_reasons import OF_EVERY_RPC, OF_RPC, reasons_of
from server.rpc.reflection import IMAGE

REFERENCE = ROOT / "docs" / "reference"
BUF = Path(sys.executable).parent / "buf"
SERVICE = pb.DESCRIPTOR.services_by_name["DownloadService"]
# Field numbers: FileDescriptorProto.service and ServiceDescriptorProto.method.
SERVICES, METHODS = 6, 2
# Field numbers: FileDescriptorProto.message_type and DescriptorProto.field.
MESSAGES, FIELDS = 4, 2
# The comments' form: "- JOB_NOT_FOUND (NOT_FOUND): ...", or several reasons with one status.
REASON = re.compile(r"^ - ([A-Z_, ]+) \(([A-Z_]+)\): ", re.M)
# Reasons that the code sets where it raises the error.
RAISED = re.compile(r'(?:PreconditionFailed|\bLimit)\(\s*"([A-Z_]+)"')


def _contract() -> descriptor_pb2.FileDescriptorProto:
    files = descriptor_pb2.FileDescriptorSet.FromString(IMAGE.read_bytes()).file
    [contract] = [file for file in files if file.name == pb.DESCRIPTOR.name]
    return contract


def _comments() -> dict[str, str]:
    """Return the comment of each method, and of the service under its own name."""
    contract = _contract()
    names: dict[tuple[int, ...], str] = {(SERVICES, 0): SERVICE.name}
    for i, method in enumerate(contract.service[0].method):
        names[(SERVICES, 0, METHODS, i)] = method.name
    return {
        names[tuple(place.path)]: place.leading_comments
        for place in contract.source_code_info.location
        if tuple(place.path) in names
    }


def _promised(name: str) -> dict[str, str]:
    """Return the reasons in a comment, each with its status."""
    found = REASON.findall(_comments()[name])
    return {reason: status for reasons, status in found for reason in reasons.split(", ")}


def _page() -> dict[str, str]:
    """Return the reasons of the page of errors, each with its status."""
    text = (REFERENCE / "errors.md").read_text()
    rows = text.partition("| reason | status | meaning | methods |\n")[2].partition("\n\n")[0]
    return dict(re.findall(r"^\| `([A-Z_]+)` \| ([A-Z_]+) \|", rows, re.M))


def test_every_method_has_its_reasons() -> None:
    assert set(OF_RPC) == {method.name for method in SERVICE.methods}
    assert not any(OF_EVERY_RPC & reasons for reasons in OF_RPC.values())


def test_the_service_comment_lists_what_every_method_can_answer() -> None:
    assert set(_promised(SERVICE.name)) == OF_EVERY_RPC


@pytest.mark.parametrize("rpc", OF_RPC)
def test_a_method_comment_lists_what_it_can_answer(rpc: str) -> None:
    assert "\n Reasons:" in _comments()[rpc]
    assert set(_promised(rpc)) == OF_RPC[rpc]


def test_the_page_of_errors_has_the_reasons_and_statuses_of_the_contract() -> None:
    promised: dict[str, str] = {}
    for name in (SERVICE.name, *OF_RPC):
        for reason, status in _promised(name).items():
            assert promised.setdefault(reason, status) == status, "one reason, one status"

    assert _page() == promised


def test_no_code_refuses_with_a_reason_that_is_not_declared() -> None:
    raised = {
        reason
        for folder in ("server", "storage")
        for file in (ROOT / folder).rglob("*.py")
        for reason in re.findall(RAISED, file.read_text())
    }
    declared = frozenset.union(*map(reasons_of, OF_RPC))

    assert raised
    assert raised <= declared


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
    assert frozenset.union(*map(reasons_of, OF_RPC)) <= _constants(pb.RefusalReason)


def _field_comment(message: str, field: str) -> str:
    contract = _contract()
    [(i, found)] = [(i, m) for i, m in enumerate(contract.message_type) if m.name == message]
    [k] = [k for k, f in enumerate(found.field) if f.name == field]
    path = [MESSAGES, i, FIELDS, k]
    [place] = [p for p in contract.source_code_info.location if list(p.path) == path]
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
