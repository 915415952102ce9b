"""Test telemetry: off by default, and never able to delay the work."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
import structlog
from prometheus_client import generate_latest

from dev.embedded.sandbox import ROOT
from storage.errors import ConfigurationError
from storage.spool import Spool
from storage.telemetry import series, shared_folder
from storage.telemetry.counters import Counters, ProcessGauges
from storage.telemetry.otel import CLOSE_TIMEOUT_S, OtelTracer
from storage.telemetry.process_signals import listen, scheduler_gauges, spool_gauges, tracer_of
from storage.telemetry.series import NOOP_RECORDER
from storage.telemetry.signals import NOOP_SIGNALS, Signals, status_label
from storage.telemetry.tracing import NO_TRACER
from tests.sandbox.receivers.otlp_receiver import OtlpReceiver

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


# As on a machine with requirements.txt only; redis-py would load the library if it is installed.
WITHOUT_OPENTELEMETRY = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("opentelemetry"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
import actors.runtime.boot, actors.runtime.worker_composition, server.rpc.service
from storage.errors import ConfigurationError
from storage.telemetry.process_signals import tracer_of

print("prometheus_client" in sys.modules)
try:
    tracer_of("http://127.0.0.1:4318", "worker")
except ConfigurationError as error:
    print(error)
"""


def test_without_a_page_and_a_receiver_neither_library_is_loaded_or_needed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_OPENTELEMETRY],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == (
        "False\nOTEL_EXPORTER_OTLP_ENDPOINT needs OpenTelemetry, which is not installed; "
        "install requirements-traces.txt or unset it.\n"
    )


def test_without_listeners_nothing_is_published() -> None:
    assert tracer_of(None, "worker") is NO_TRACER
    assert Signals(NOOP_RECORDER, NO_TRACER) == NOOP_SIGNALS
    with NOOP_SIGNALS.step("download", job_id=uuid4(), traceparent=PARENT) as span:
        span.fail("NO_ACCESS")
        assert NO_TRACER.traceparent() is None
        assert "trace_id" not in structlog.contextvars.get_contextvars()


@pytest.mark.parametrize(
    ("status", "label"),
    [(200, "200"), (503, "503"), (None, "none"), (299, "other"), (999, "other")],
)
def test_a_status_that_a_server_invents_makes_no_new_label(status: int | None, label: str) -> None:
    assert status_label(status) == label


def test_labels_can_hold_no_case_job_or_document() -> None:
    known = {"method", "code", "state", "reason", "step", "court", "status", "outcome"}
    assert {label for each in series.ALL for label in each.labels} <= known


def _fail(signals: Signals) -> None:
    with (
        signals.step("download", job_id=uuid4(), document_id=uuid4(), traceparent=PARENT),
        signals.request("portal", "GET", "autos.court", "8.26") as request,
    ):
        signals.portal_answered(request, "8.26", 503)
        assert structlog.contextvars.get_contextvars()["trace_id"] == PARENT.split("-")[1]
        raise LookupError("a text that may hold a URL")


def test_a_step_is_timed_and_traced_below_its_job_and_named_in_its_lines() -> None:
    counters = Counters()
    with OtlpReceiver() as receiver, closing(OtelTracer(receiver.url, "worker")) as tracer:
        signals = Signals(counters, tracer)
        with pytest.raises(LookupError):
            _fail(signals)
        tracer.close()
        spans = {span.name: span for span in receiver.wait_for(lambda s: len(s) == 2, 60)}

    step, portal_span = spans["download_document"], spans["GET portal"]
    assert step.trace_id == portal_span.trace_id == PARENT.split("-")[1]
    assert (step.parent_id, portal_span.parent_id) == (PARENT.split("-")[2], step.span_id)
    assert (step.is_failed, portal_span.is_failed) == (True, True)
    # The span names the exception's class, never its text.
    assert {step.failure, portal_span.failure} == {"LookupError"}
    assert "URL" not in str(spans)
    assert portal_span.attributes["http.response.status_code"] == 503
    shown = counters.shown(None)
    assert shown.get_sample_value("autos_step_seconds_count", {"step": "download"}) == 1
    labels = {"court": "8.26", "status": "503"}
    assert shown.get_sample_value("autos_portal_answers_total", labels) == 1


def test_a_receiver_that_is_away_holds_up_neither_work_nor_the_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        # The collector accepts the connection and never answers.
        port = silent.getsockname()[1]
        tracer = OtelTracer(f"http://127.0.0.1:{port}", "worker")
        begun = time.monotonic()
        # More spans than the queue holds.
        for _ in range(5_000):
            with tracer.span("download_document", traceparent=PARENT):
                pass
        # Each of the ten export attempts would take ten seconds.
        assert time.monotonic() - begun < 50
        begun = time.monotonic()
        tracer.close()
        assert time.monotonic() - begun < CLOSE_TIMEOUT_S + 5


def test_a_trace_that_its_caller_does_not_record_is_not_recorded() -> None:
    with OtlpReceiver() as receiver, closing(OtelTracer(receiver.url, "server")) as tracer:
        with tracer.span("unheard", traceparent=PARENT[:-1] + "0"):
            carried = tracer.traceparent()
        with tracer.span("heard", traceparent="what a stranger invents"):
            pass
        tracer.close()
        [span] = receiver.wait_for(lambda spans: len(spans) > 0, 60)
    assert carried is not None
    assert carried.endswith("-00")
    assert (span.name, span.parent_id) == ("heard", "")


def test_with_the_documented_sampler_only_a_caller_s_own_trace_is_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The SDK itself reads its variables.
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    with OtlpReceiver() as receiver, closing(OtelTracer(receiver.url, "server")) as tracer:
        with tracer.span("not chosen") as own:
            carried = tracer.traceparent()
        # The job's row carries the decision to the other processes.
        with tracer.span("its step", traceparent=carried):
            pass
        with tracer.span("chosen", traceparent=PARENT):
            pass
        tracer.close()
        [span] = receiver.wait_for(lambda spans: len(spans) > 0, 60)
    assert (span.name, span.parent_id) == ("chosen", PARENT.split("-")[2])
    # The lines of an unsampled job have the id of its trace all the same.
    assert own.trace_id == (carried or "").split("-")[1]


def test_the_content_of_a_spool_is_shown(tmp_path: Path) -> None:
    spool = Spool(tmp_path, None, 64 * 1024 * 1024)
    with spool.create(uuid4(), 1_000) as file:
        file.write(b"x" * 1_000)
    registry = Counters().shown(spool_gauges(spool)())
    assert registry.get_sample_value("autos_spool_bytes") == 1_000
    assert registry.get_sample_value("autos_spool_files") == 1
    assert registry.get_sample_value("autos_spool_limit_bytes") == 64 * 1024 * 1024


def test_the_page_of_a_scheduler_shows_whether_it_leads_now_and_how_long_its_passes_took() -> None:
    leads = [False]
    counters = Counters()
    page = counters.shown(scheduler_gauges(lambda: leads[0])())
    assert page.get_sample_value("autos_scheduler_leads") == 0
    # Another process exports no passes, since it makes none.
    assert page.get_sample_value("autos_scheduler_pass_seconds_count") is None

    leads[0] = True
    for _ in range(3):
        Signals(counters, NO_TRACER).scheduler_passed(0.004)

    assert page.get_sample_value("autos_scheduler_leads") == 1
    assert page.get_sample_value("autos_scheduler_pass_seconds_count") == 3
    within = {"le": "0.005"}
    assert page.get_sample_value("autos_scheduler_pass_seconds_bucket", within) == 3


def test_the_folder_of_a_killed_parent_is_removed_by_the_next_and_a_living_one_is_not(
    tmp_path: Path,
) -> None:
    environ: dict[str, str] = {}
    with shared_folder.shared_folder(environ, tmp_path) as living:
        assert environ[shared_folder.VARIABLE] == str(living)
        dead, young = (
            living.with_name(f"{shared_folder.PREFIX}dead"),
            living.with_name(f"{shared_folder.PREFIX}young"),
        )
        for folder in (dead, young):
            folder.mkdir()
        old = time.time() - 2 * shared_folder.LEFT_AGE_S
        for folder in (dead, living):
            os.utime(folder, (old, old))
        with shared_folder.shared_folder({}, tmp_path):
            assert (dead.exists(), young.exists(), living.exists()) == (False, True, True)
        young.rmdir()
    assert not living.exists()


def test_each_process_takes_the_port_after_the_one_before(tmp_path: Path) -> None:
    with closing(listen("127.0.0.1:0", "scheduler")) as first:
        host, port = first.getsockname()
        with pytest.raises(ConfigurationError, match=f"{host}:{port} cannot be listened on"):
            listen(f"127.0.0.1:{port - 1}", "worker")


@pytest.mark.parametrize(("given", "is_json"), [("", True), ("json", True), ("text", False)])
def test_lines_are_json_unless_they_go_to_a_terminal_or_text_is_set(
    given: str, is_json: bool
) -> None:
    assert _begins_like_json(given, None) == is_json


def test_on_a_terminal_lines_are_text() -> None:
    leader, follower = os.openpty()
    try:
        assert not _begins_like_json("", follower, leader)
    finally:
        os.close(leader)
        os.close(follower)


def _begins_like_json(log_format: str, stderr: int | None, read_from: int | None = None) -> bool:
    """Return True if a process with a thread that dies of a bug logs it as a line of JSON."""
    script = (
        "import threading; from storage import logs;"
        f"logs.configure({log_format!r} or None, process='worker');"
        "t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        stderr=stderr if stderr is not None else subprocess.PIPE,
        check=True,
    )
    written = os.read(read_from, 65_536) if read_from is not None else done.stderr
    text = written.decode()
    assert "ZeroDivisionError" in text
    if not text.startswith("{"):
        return False
    [line] = text.splitlines()
    assert json.loads(line)["process"] == "worker"
    return True


def test_every_series_is_shown_by_its_name() -> None:
    counters = Counters()
    for each in series.ALL:
        labels = ["x"] * len(each.labels)
        if each.kind is series.Kind.HISTOGRAM:
            counters.observe(each, *labels, value=1)
        else:
            counters.add(each, *labels)
    page = generate_latest(counters.shown(None)).decode()
    assert [each.name for each in series.ALL if f"\n{each.shown_name}" not in page] == []


def test_claims_that_are_lost_all_at_once_are_an_increase_from_nothing() -> None:
    shown = Counters().shown(None)
    written = {sample.name for family in shown.collect() for sample in family.samples}
    counters = {name for name in written if name.startswith("autos_") and name.endswith("_total")}
    assert counters == {"autos_leases_lost_total", "autos_jobs_ended_total"}
    assert shown.get_sample_value("autos_leases_lost_total", {"step": "download"}) == 0


def test_the_resources_of_a_process_are_those_of_its_family_too(tmp_path: Path) -> None:
    # Given a parent with one living and one ended child, in the form of Linux's /proc
    for pid, user, system, start, pages in ((10, 100, 50, 700, 5), (11, 30, 20, 900, 7)):
        (tmp_path / f"{pid}/task/{pid}").mkdir(parents=True)
        (tmp_path / f"{pid}/fd").mkdir()
        (tmp_path / f"{pid}/fd/0").touch()
        fields = ["S", *"0123456789", user, system, *"012345", start, 0, pages]
        (tmp_path / f"{pid}/stat").write_text(f"{pid} (a) name) {' '.join(map(str, fields))}\n")
    (tmp_path / "10/task/10/children").write_text("11 12 ")
    (tmp_path / "stat").write_text("cpu 1 2\nbtime 1000\n")
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")

    samples = {
        sample.name: sample.value
        for family in ProcessGauges(10, tmp_path).collect()
        for sample in family.samples
    }

    assert samples == {
        "autos_build_info": 1,
        "process_cpu_seconds_total": 200 / ticks,
        "process_resident_memory_bytes": 12 * page,
        "process_open_fds": 2,
        "process_start_time_seconds": 1000 + 700 / ticks,
    }
    # Of this process, the fields are at the same places.
    own = {family.name: family.samples[0].value for family in ProcessGauges(os.getpid()).collect()}
    started_s = own["process_start_time_seconds"]
    assert 0 < started_s <= time.time() + 1
    assert own["process_resident_memory_bytes"] > 1024 * 1024
