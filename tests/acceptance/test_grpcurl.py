"""What people type: grpcurl and buf curl, without the proto file, as a README would print it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2

from dev.sandbox import ROOT
from tests.acceptance.conftest import Autos, free_port
from tests.acceptance.jobs import finish
from tests.cookbook.answers import difference
from tests.cookbook.kitchen import cook
from tests.cookbook.recipes import ADDRESS, BLOCK, FILE, RECEIVER, SECURED, steps_of
from tests.cookbook.secured import secured_server
from tests.cookbook.settling import settle

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


def _call(autos: Autos, method: str, body: dict[str, object]) -> Any:
    output = _grpcurl(autos, f"{SERVICE}/{method}", options=("-d", json.dumps(body)))
    return json.loads(output)


def test_grpcurl_lists_the_services_and_the_methods(autos: Autos) -> None:
    assert _grpcurl(autos, "list").split() == sorted([SERVICE, HEALTH, *REFLECTION])
    assert f"{SERVICE}.StartDownload" in _grpcurl(autos, "list", SERVICE).split()


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
def test_grpcurl_is_told_what_there_is_not(autos: Autos, symbol: str) -> None:
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
    asked = [*ODD_QUESTIONS.values(), {}, {"all_extension_numbers_of_type": JOB}, known]
    questions = [reflection_pb2.ServerReflectionRequest(**each) for each in asked]
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


def test_a_health_check_says_serving(autos: Autos) -> None:
    for service in ("", SERVICE):
        body = ("-d", json.dumps({"service": service}))
        assert json.loads(_grpcurl(autos, f"{HEALTH}/Check", options=body)) == {"status": "SERVING"}


def test_a_health_watch_says_serving_and_stays(autos: Autos) -> None:
    address = autos.stack.env["GRPC_LISTEN"]
    command = (BIN / "grpcurl", "-plaintext", "-d", "{}", address, f"{HEALTH}/Watch")

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout
        told = "".join(_lines_of_one(watching.stdout))
        with pytest.raises(subprocess.TimeoutExpired):
            watching.wait(1)
        watching.terminate()

    assert json.loads(told) == {"status": "SERVING"}


def _lines_of_one(output: Iterable[str]) -> Iterator[str]:
    """The lines of the first message."""
    for line in output:
        yield line
        if line == "}\n":
            return


def test_a_case_is_fetched_with_grpcurl_alone(autos: Autos) -> None:
    number = autos.portal.add_case(documents=2)

    started = _call(autos, "StartDownload", {"process_number": number})
    job_id = started["job"]["job_id"]
    watched = _grpcurl(
        autos, f"{SERVICE}/WatchProgress", options=("-d", json.dumps({"job_id": job_id}))
    )
    listed = _call(autos, "ListDocuments", {"job_id": job_id})
    jobs = _call(autos, "ListJobs", {"process_number": number, "states": ["JOB_STATE_COMPLETED"]})

    assert started["created"] is True
    assert '"state": "JOB_STATE_COMPLETED"' in watched
    assert [d["state"] for d in listed["documents"]] == ["DOCUMENT_STATE_AVAILABLE"] * 2
    assert [job["job_id"] for job in jobs["jobs"]] == [job_id]
    url = _call(
        autos,
        "GetDocumentUrl",
        {"job_id": job_id, "document_id": listed["documents"][0]["document_id"]},
    )["url"]
    fetched = _run("curl", "--silent", "--show-error", "--fail", "--output", "-", url)
    assert fetched.returncode == 0, fetched.stderr
    assert fetched.stdout.startswith("%PDF-")


def test_grpcurl_shows_the_details_of_an_error(autos: Autos) -> None:
    done = _run(
        *(BIN / "grpcurl", "-plaintext", "-d", '{"process_number": "1003579-23.2025.8.26.0564"}'),
        *(autos.stack.env["GRPC_LISTEN"], f"{SERVICE}/StartDownload"),
    )

    assert done.returncode != 0
    assert "Code: InvalidArgument" in done.stderr
    assert "the check digits must be 22, not 23" in done.stderr
    assert '"domain":"autos"' in done.stderr.replace(" ", "")
    assert '"field":"process_number"' in done.stderr.replace(" ", "")


def _buf_curl(autos: Autos, path: str, *options: str) -> subprocess.CompletedProcess[str]:
    url = f"http://{autos.stack.env['GRPC_LISTEN']}{path}"
    return _run(BIN / "buf", "curl", "--protocol", "grpc", "--http2-prior-knowledge", *options, url)


@pytest.mark.parametrize("protocol", ["grpc-v1", "grpc-v1alpha"])
def test_buf_curl_needs_no_proto_file_either(autos: Autos, protocol: str) -> None:
    number = autos.portal.add_case(documents=1)
    body = json.dumps({"process_number": number})

    done = _buf_curl(
        autos, f"/{SERVICE}/StartDownload", "--reflect-protocol", protocol, "--data", body
    )

    assert done.returncode == 0, done.stderr
    finish(autos, json.loads(done.stdout)["job"]["jobId"])


def test_buf_curl_lists_every_method(autos: Autos) -> None:
    done = _buf_curl(autos, "", "--list-methods")

    assert done.returncode == 0, done.stderr
    methods = done.stdout.split()
    assert f"{SERVICE}/StartDownload" in methods
    assert f"{REFLECTION[0]}/ServerReflectionInfo" in methods


def test_the_calls_of_the_readme_work_as_printed(autos: Autos) -> None:
    blocks = [block[2] for block in BLOCK.finditer((ROOT / "README.md").read_text())]
    calls = [line for block in blocks for line in block.splitlines() if "bin/grpcurl" in line]
    assert len(calls) >= 10, "the README has changed: look here again"
    # Nothing but the address differs, since the suite takes any free port.
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
    assert '"url": "http' in done.stdout
    assert '"status": "SERVING"' in done.stdout


def test_every_command_of_the_cookbook_answers_as_printed(autos: Autos, tmp_path: Path) -> None:
    steps = list(steps_of(FILE.read_text()))
    secured = f"127.0.0.1:{free_port()}"
    used = {
        ADDRESS: autos.stack.env["GRPC_LISTEN"],
        RECEIVER: urlsplit(autos.receiver.url).netloc,
        SECURED: secured,
    }

    with secured_server(autos.stack.env, secured, tmp_path) as environ:
        answers = cook(steps, lambda: settle(autos.api), used, environ, timeout_s=200)

    ids: dict[str, str] = {}
    differences = [
        f"{FILE.name}:{step.line}: {step.command}{found}"
        for step, answer in zip(steps, answers, strict=True)
        if (found := difference(step.answer, answer, ids))
    ]
    assert not differences, "\n".join(differences)
