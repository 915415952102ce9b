"""Test the metrics, traces, log lines and channelz of the real processes."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import psycopg2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from autos.downloads.v1 import downloads_pb2 as pb
from dev.embedded.embedded_servers import EmbeddedServers
from dev.embedded.sandbox import ROOT
from dev.processes.deadline import until
from storage.telemetry.process_signals import PORT_AFTER
from tests.sandbox.keycloak.login import CLIENT_ID, CLIENT_SECRET, SandboxLogin
from tests.sandbox.portal import SandboxPortal
from tests.sandbox.receivers.otlp_receiver import OtlpReceiver, SpanSeen
from tests.sandbox.receivers.webhook_receiver import WebhookReceiver
from tests.system.job_calls import (
    CALL_S,
    DEADLINE_S,
    await_job,
    documents,
    finish,
    start,
)
from tests.system.running_autos import Autos, free_ports, running_autos

KEY = base64.urlsafe_b64encode(b"planted-encryption-key-012345678").decode()
PATH = "/planted-webhook-path"
TRACE_ID, CALLER_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
DOCUMENTS = 16
FAULTS = {1: "codex-500", 2: "no-href"}
START = "autos.downloads.v1.DownloadService/StartDownload"


@dataclass(frozen=True)
class Watched:
    """An Autos with all telemetry enabled, and its one ended job, started by a traced call."""

    autos: Autos
    login: SandboxLogin
    traces: OtlpReceiver
    number: str
    job: pb.Job
    host: str
    port: int

    def address(self, process: str) -> str:
        return f"{self.host}:{self.port + PORT_AFTER[process]}"

    def page(self, process: str) -> str:
        with urlopen(f"http://{self.address(process)}/metrics", timeout=60) as answer:
            text: str = answer.read().decode()
        return text

    def samples(self, process: str) -> dict[str, float]:
        """Return the value of every sample by name and label values, in the order of the labels."""
        return {
            " ".join((sample.name, *(v for _, v in sorted(sample.labels.items())))): sample.value
            for family in text_string_to_metric_families(self.page(process))
            for sample in family.samples
        }

    def lines(self) -> list[dict[str, object]]:
        """Return the log lines of all processes except the release, parsed as JSON."""
        pairs = [line.partition(" | ") for line in list(self.autos.lines)]
        return [json.loads(text) for name, _, text in pairs if name in PORT_AFTER]


@pytest.fixture(scope="module")
def watched(
    servers: EmbeddedServers,
    receiver: WebhookReceiver,
    second_port: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Watched]:
    port = free_ports(PORT_AFTER.values())
    redis_url = urlsplit(servers.env["REDIS_URL"])._replace(path="/4").geturl()
    with SandboxLogin() as login, SandboxPortal() as portal, OtlpReceiver() as traces:
        portal.accepts = login.accepts
        with running_autos(
            servers,
            portal,
            receiver,
            second_port,
            tmp_path_factory.mktemp("operators", numbered=False),
            REDIS_URL=redis_url,
            PDPJ_TOKEN="",
            PDPJ_TOKEN_URL=login.url,
            PDPJ_CLIENT_ID=CLIENT_ID,
            PDPJ_CLIENT_SECRET=CLIENT_SECRET,
            AUTOS_ENCRYPTION_KEY=KEY,
            METRICS_LISTEN=f"127.0.0.1:{port}",
            OTEL_EXPORTER_OTLP_ENDPOINT=traces.url,
            OTEL_BSP_SCHEDULE_DELAY="100",
            GRPC_CHANNELZ="on",
        ) as autos:
            number = portal.add_case(documents=DOCUMENTS, faults=FAULTS)
            job = _run(autos, number, receiver.url_of(PATH))
            yield Watched(autos, login, traces, number, job, "127.0.0.1", port)


def _run(autos: Autos, number: str, webhook_url: str) -> pb.Job:
    """Start a job by a traced call; the receiver accepts its webhook at the second attempt."""
    autos.receiver.answer(status=503, path=PATH)
    answer = autos.api.StartDownload(
        pb.StartDownloadRequest(process_number=number, webhook_url=webhook_url),
        timeout=CALL_S,
        metadata=(("traceparent", f"00-{TRACE_ID}-{CALLER_ID}-01"),),
    )
    job_id: str = answer.job.job_id
    finish(autos, job_id)
    return await_job(autos, job_id, lambda job: job.webhooks[0].state == pb.WEBHOOK_STATE_DELIVERED)


def _court(number: str) -> str:
    return number[16:20]


def test_the_metrics_of_all_processes_count_the_work_of_a_job(watched: Watched) -> None:
    autos, job, court = watched.autos, watched.job, _court(watched.number)
    stored, failed = DOCUMENTS - len(FAULTS), len(FAULTS)
    assert (job.progress.completed_documents, job.progress.failed_documents) == (stored, failed)

    # The samples are sums over both worker processes, whichever of them answers.
    for _ in range(4):
        worker = watched.samples("worker")
        assert worker["autos_step_bytes_total download"] == job.progress.stored_bytes
        assert worker["autos_step_seconds_count list"] == 1
        # An answer of 500 is retried up to three attempts.
        assert worker["autos_step_seconds_count download"] == stored + 3
        assert worker["autos_retries_total PORTAL_ERROR download"] == 2
        assert worker[f"autos_portal_answers_total {court} 200"] == stored + 1
        assert worker[f"autos_portal_answers_total {court} 500"] == 3
        assert worker["autos_documents_ended_total PORTAL_ERROR FAILED"] == 1
        assert worker["autos_documents_ended_total NO_LINK FAILED"] == 1

    # The downloading worker stores small files itself, unless the bucket is slow.
    uploader = watched.samples("uploader")

    def both(series: str) -> float:
        return worker.get(series, 0) + uploader.get(series, 0)

    assert both("autos_step_bytes_total upload") == job.progress.stored_bytes
    assert both("autos_documents_ended_total  AVAILABLE") == stored
    assert both("autos_jobs_ended_total PARTIALLY_COMPLETED") == 1
    assert (uploader["autos_spool_bytes"], uploader["autos_spool_files"]) == (0, 0)

    notifier = watched.samples("notifier")
    assert notifier["autos_webhook_attempts_total REFUSED"] == 1
    assert notifier["autos_webhook_attempts_total DELIVERED"] == 1
    assert notifier["autos_retries_total REFUSED webhook"] == 1

    method = "DownloadService/StartDownload"
    server = watched.samples("server")
    assert server[f"autos_rpc_handled_total OK {method}"] == 1
    assert server[f"autos_rpc_seconds_count {method}"] == 1
    assert server[f"autos_rpcs_open {method}"] == 0
    assert server["autos_documents PENDING"] == 0
    assert server["autos_database_up"] == 1
    assert (server["autos_redis_up"], server["autos_s3_up"]) == (1, 1)
    scheduler = watched.samples("scheduler")
    assert scheduler["autos_leases_lost_total download"] == 0
    assert scheduler["autos_scheduler_leads"] == 1
    assert scheduler["autos_scheduler_pass_seconds_count"] > 0
    # Only schedulers make passes.
    others = [watched.samples(name) for name in PORT_AFTER if name != "scheduler"]
    assert [each for names in others for each in names if "scheduler" in each] == []

    ids = [document.document_id for document in documents(autos, job)]
    planted = (watched.number, watched.number[:15], job.job_id, CLIENT_SECRET, KEY, PATH, *ids)
    pages = {name: watched.page(name) for name in PORT_AFTER}
    assert [(name, each) for name, page in pages.items() for each in planted if each in page] == []


def test_a_job_is_one_trace_from_its_call_to_its_webhook(watched: Watched) -> None:
    stored = DOCUMENTS - len(FAULTS)
    wanted = Counter(
        {
            START: 1,
            "list_documents": 1,
            "download_document": stored + 3,
            "upload_document": stored,
            "send_webhook": 2,
            "GET portal": 1 + stored + 3,
            "PUT s3": stored,
            "POST webhook": 2,
        }
    )

    def of_job(spans: list[SpanSeen]) -> list[SpanSeen]:
        # If the bucket is slow at first, a worker uploads one file a second time.
        again = {
            span.span_id for span in spans if span.name == "upload_document" and span.is_failed
        }
        return [
            span
            for span in spans
            if span.trace_id == TRACE_ID and not {span.span_id, span.parent_id} & again
        ]

    def names(spans: list[SpanSeen]) -> Counter[str]:
        return Counter(span.name for span in of_job(spans))

    try:
        spans = of_job(watched.traces.wait_for(lambda s: names(s) == wanted, DEADLINE_S))
    except TimeoutError:
        assert names(watched.traces.spans) == wanted
        raise

    [call] = [span for span in spans if span.name == START]
    assert (call.kind, call.service, call.parent_id) == ("SERVER", "autos-server", CALLER_ID)
    steps = {span.span_id: span for span in spans if span.kind == "CONSUMER"}
    assert {span.parent_id for span in steps.values()} == {call.span_id}
    requests = [span for span in spans if span.kind == "CLIENT"]
    below = Counter((steps[span.parent_id].name, span.name) for span in requests)
    assert below == {
        ("list_documents", "GET portal"): 1,
        ("download_document", "GET portal"): stored + 3,
        ("upload_document", "PUT s3"): stored,
        ("send_webhook", "POST webhook"): 2,
    }
    services = {span.service for span in spans}
    assert services - {"autos-uploader"} == {"autos-server", "autos-worker", "autos-notifier"}
    answers = Counter(
        (span.name, span.attributes.get("http.response.status_code"), span.is_failed)
        for span in requests
    )
    assert answers["GET portal", 500, True] == 3
    assert answers["GET portal", 200, False] == stored + 1
    assert answers["POST webhook", 503, False] == 1
    assert {span.attributes["autos.job_id"] for span in steps.values()} == {watched.job.job_id}


def test_no_span_names_a_case_and_no_stranger_gets_a_trace(watched: Watched) -> None:
    digits = re.sub(r"\D", "", watched.number)
    spans = json.dumps([(span.name, span.attributes) for span in watched.traces.spans])
    assert [each for each in (watched.number, digits, CLIENT_SECRET, PATH) if each in spans] == []
    headers = [each.headers for each in watched.autos.receiver.deliveries_at(PATH)]
    assert {name.lower() for each in headers for name in each} & {"traceparent", "tracestate"} == (
        set()
    )


def test_every_line_of_a_job_is_found_by_its_id_in_every_process(watched: Watched) -> None:
    lines = watched.lines()
    assert [line for line in lines if line.get("process") not in PORT_AFTER] == []

    found = [line for line in lines if line.get("job_id") == watched.job.job_id]
    events = Counter((line["process"], line["event"]) for line in found)
    assert events["server", "job started"] == 1
    assert events["worker", "case listed"] == 1
    assert events["worker", "attempt failed"] == 3
    stored = events["worker", "document stored"] + events["uploader", "document stored"]
    assert stored == DOCUMENTS - len(FAULTS)
    assert events["notifier", "webhook not accepted"] == 1
    assert events["notifier", "webhook delivered"] == 1
    assert sum(n for (_, event), n in events.items() if event == "job ended") == 1
    # The scheduler reads rows, which contain no trace ids.
    of_calls = [line for line in found if line["process"] != "scheduler"]
    assert {line.get("trace_id") for line in of_calls} == {TRACE_ID}

    # The remaining lines contain no id of the job either.
    rest = [line for line in lines if "job_id" not in line]
    ids = [document.document_id for document in documents(watched.autos, watched.job)]
    assert [line for line in rest if any(each in str(line) for each in ids)] == []
    ours = {"document_id", "webhook_id", "lease"}
    assert [line for line in rest if ours & line.keys()] == []


def _printed(commands: str, address: str) -> Any:
    """Return the output of the documentation's commands, run against this Autos."""
    done = subprocess.run(
        ["sh", "-ec", commands.replace("127.0.0.1:50051", address)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


def test_channelz_lists_connections_if_it_is_enabled(watched: Watched) -> None:
    address = watched.autos.stack.env["GRPC_LISTEN"]
    text = (ROOT / "docs/howto/monitor.md").read_text()
    servers, *sockets = re.findall(r"^.*bin/grpcurl .*Channelz/.*$", text, re.MULTILINE)

    [server] = _printed(servers, address)["server"]
    assert int(server["data"]["calls_started"]) > 0
    assert len(_printed("\n".join(sockets), address)["socket_ref"]) > 0


def test_metrics_report_a_rejected_login_without_secrets_or_cases(
    watched: Watched,
) -> None:
    autos, login = watched.autos, watched.login
    assert watched.samples("server")["autos_portal_login_refused"] == 0
    number = autos.portal.add_case(documents=1)

    login.fail("invalid_grant")
    login.expire()
    with (
        closing(psycopg2.connect(autos.stack.env["DATABASE_URL"])) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        # The minimum interval between two logins has passed.
        cursor.execute("UPDATE logins SET next_login_time = NULL")
    start(autos, number)

    until(
        lambda: watched.samples("server").get("autos_portal_login_refused") == 1,
        60,
        "the metrics page does not show it",
    )
    until(lambda: watched.samples("server").get("autos_jobs_waiting") == 1, 60, "no job waits")
    page = watched.page("server")
    planted = (watched.number, number, CLIENT_SECRET, CLIENT_ID, KEY, "access-")
    assert [each for each in planted if each in page] == []


@pytest.mark.parametrize(
    ("process", "command"),
    [("server", ("server",)), ("worker", ("actors", "worker"))],
)
def test_a_metrics_address_in_use_is_reported_in_one_sentence(
    watched: Watched, process: str, command: tuple[str, ...]
) -> None:
    second = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, **watched.autos.stack.env, "GRPC_LISTEN": "127.0.0.1:0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 1
    assert second.stderr == (
        f"autos {process}: METRICS_LISTEN: {watched.address(process)} cannot be listened on; "
        "stop what uses it or set METRICS_LISTEN to another address.\n"
    )
