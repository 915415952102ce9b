"""Test grpcurl and buf curl as README and cookbook print the commands, and reflection."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2

from dev.embedded.sandbox import ROOT
from tests.cookbook.answer_matcher import difference
from tests.cookbook.idle import settle
from tests.cookbook.parser import ADDRESS, BLOCK, FILE, RECEIVER, SECURED, steps_of
from tests.cookbook.runner import run_steps
from tests.cookbook.tls_server import secured_server
from tests.system.running_autos import Autos, free_port

BIN = Path(sys.executable).parent
SERVICE = "autos.downloads.v1.DownloadService"
HEALTH = "grpc.health.v1.Health"
JOB = "autos.downloads.v1.Job"
REFLECTION = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def _grpcurl(autos: Autos, *rest: str, options: tuple[str, ...] = ()) -> str:
    done = _run(BIN / "grpcurl", "-plaintext", *options, autos.stack.env["GRPC_LISTEN"], *rest)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("symbol", "shown"),
    [
        (
            SERVICE,
            "rpc WatchProgress ( .autos.downloads.v1.WatchProgressRequest ) returns ( stream",
        ),
        (f"{SERVICE}.StartDownload", "option idempotency_level = IDEMPOTENT"),
        (f"{SERVICE}.StartDownload", "// Starts a job, or returns the job that already serves"),
        ("autos.downloads.v1.Job", "optional int32 secrecy_level = 13"),
        ("autos.downloads.v1.JobState", "JOB_STATE_PARTIALLY_COMPLETED = 4"),
        ("autos.downloads.v1.WatchProgressRequest", "oneof target"),
        (HEALTH, "rpc Check"),
        *((name, "rpc ServerReflectionInfo") for name in REFLECTION),
    ],
)
def test_grpcurl_describes_what_there_is(autos: Autos, symbol: str, shown: str) -> None:
    assert shown in _grpcurl(autos, "describe", symbol)


@pytest.mark.parametrize("symbol", ["autos.downloads.v1.Nothing", f"{SERVICE}.Nothing", "x"])
def test_grpcurl_reports_an_unknown_symbol(autos: Autos, symbol: str) -> None:
    done = _run(BIN / "grpcurl", "-plaintext", autos.stack.env["GRPC_LISTEN"], "describe", symbol)

    assert done.returncode != 0
    assert "not found" in done.stderr.lower()


ODD_QUESTIONS: dict[str, dict[str, Any]] = {
    "an extension": {
        "file_containing_extension": {
            "containing_type": JOB,
            "extension_number": 5,
        }
    },
    "an extension of nothing": {
        "file_containing_extension": {"containing_type": "x", "extension_number": 0}
    },
    "extensions of nothing": {"all_extension_numbers_of_type": "x"},
    "a file that is not there": {"file_by_filename": "x.proto"},
    "no symbol": {"file_containing_symbol": ""},
    "dots": {"file_containing_symbol": "..."},
}


@pytest.mark.parametrize("service", REFLECTION)
def test_reflection_answers_odd_questions_and_goes_on(autos: Autos, service: str) -> None:
    known = {"file_containing_symbol": f"{SERVICE}.StartDownload"}
    fields = [*ODD_QUESTIONS.values(), {}, {"all_extension_numbers_of_type": JOB}, known]
    questions = [reflection_pb2.ServerReflectionRequest(**each) for each in fields]
    ask = autos.channel.stream_stream(
        f"/{service}/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )

    *odd, nothing, none, file = ask(iter(questions), timeout=30)

    not_found, invalid = (
        grpc.StatusCode.NOT_FOUND.value[0],
        grpc.StatusCode.INVALID_ARGUMENT.value[0],
    )
    assert [each.error_response.error_code for each in odd] == [not_found] * len(ODD_QUESTIONS)
    assert nothing.error_response.error_code == invalid
    assert list(none.all_extension_numbers_response.extension_number) == []
    contract = FileDescriptorProto.FromString(
        file.file_descriptor_response.file_descriptor_proto[0]
    )
    assert contract.service[0].name == "DownloadService"
    assert contract.source_code_info.location, "the comments are there"


def test_the_calls_of_the_readme_work_as_printed(autos: Autos) -> None:
    pages = (ROOT / "README.md", ROOT / "docs" / "reference" / "health.md")
    blocks = [block[2] for page in pages for block in BLOCK.finditer(page.read_text())]
    calls = [line for block in blocks for line in block.splitlines() if "bin/grpcurl" in line]
    assert len(calls) >= 6, "the README has changed: look here again"
    # Only the address differs, since the suite uses any free port.
    script = "\n".join(calls).replace(ADDRESS, autos.stack.env["GRPC_LISTEN"])

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=ROOT,
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert '"state": "JOB_STATE_PARTIALLY_COMPLETED"' in done.stdout
    assert "rpc RedeliverWebhook" in done.stdout
    assert '"status": "SERVING"' in done.stdout


# About eighty processes run one after another, which takes long on a busy machine.
@pytest.mark.timeout(600)
def test_every_command_of_the_cookbook_answers_as_printed(autos: Autos, tmp_path: Path) -> None:
    steps = list(steps_of(FILE.read_text()))
    secured = f"127.0.0.1:{free_port()}"
    used = {
        ADDRESS: autos.stack.env["GRPC_LISTEN"],
        RECEIVER: urlsplit(autos.receiver.url).netloc,
        SECURED: secured,
    }

    with secured_server(autos.stack.env, secured, tmp_path) as environ:
        answers = run_steps(steps, lambda: settle(autos.api), used, environ, timeout_s=500)

    ids: dict[str, str] = {}
    differences = [
        f"{FILE.name}:{step.line}: {step.command}{found}"
        for step, answer in zip(steps, answers, strict=True)
        if (found := difference(step.answer, answer, ids))
    ]
    assert not differences, "\n".join(differences)
