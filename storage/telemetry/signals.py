"""The signals of a job's steps: duration, size, result.

One block for each step and for each outgoing request feeds both the counters and the trace, and
puts the trace's id into every log line inside the block.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal
from uuid import UUID

import structlog

from storage.telemetry import series
from storage.telemetry.series import NOOP_RECORDER, MetricsRecorder
from storage.telemetry.tracing import NO_SPAN, NO_TRACER, Span, Tracer, Value

Step = Literal["list", "download", "upload", "webhook"]
ACTORS: dict[Step, str] = {
    "list": "list_documents",
    "download": "download_document",
    "upload": "upload_document",
    "webhook": "send_webhook",
}
_KNOWN_STATUSES = {status.value for status in HTTPStatus}
NO_ANSWER = "none"
HTTP_STATUS = "http.response.status_code"
SIZE_BYTES = "autos.size_bytes"
COURT = "autos.court"


@dataclass(frozen=True)
class Signals:
    """The recorder and the tracer of a process. Both do nothing by default."""

    recorder: MetricsRecorder = NOOP_RECORDER
    tracer: Tracer = NO_TRACER

    @contextmanager
    def step(
        self,
        step: Step,
        *,
        job_id: UUID,
        document_id: UUID | None = None,
        traceparent: str | None,
    ) -> Iterator[Span]:
        """Open one attempt at a step of a job, below the call that began the job's run."""
        begun = time.monotonic()
        try:
            if self.tracer.is_on:
                with self._traced(step, job_id, document_id, traceparent) as span:
                    yield span
            else:
                yield NO_SPAN
        finally:
            self.recorder.observe(series.STEP_SECONDS, step, value=time.monotonic() - begun)

    @contextmanager
    def _traced(
        self, step: Step, job_id: UUID, document_id: UUID | None, traceparent: str | None
    ) -> Iterator[Span]:
        ids = {"autos.job_id": str(job_id)}
        if document_id is not None:
            ids["autos.document_id"] = str(document_id)
        with (
            self.tracer.span(
                ACTORS[step], "consumer", traceparent=traceparent, attributes=ids
            ) as span,
            structlog.contextvars.bound_contextvars(trace_id=span.trace_id),
        ):
            yield span

    def log_context(self, job_id: UUID, traceparent: str | None) -> dict[str, str]:
        """Return the fields of log lines about a job outside of its steps."""
        ids = {"job_id": str(job_id)}
        if self.tracer.is_on and traceparent is not None:
            # version-trace_id-parent_id-flags (W3C Trace Context)
            ids["trace_id"] = traceparent.split("-")[1]
        return ids

    def passed(self, step: Step, size_bytes: int) -> None:
        """Count a document of this size that has passed a step."""
        self.recorder.add(series.STEP_BYTES, step, by=size_bytes)

    def retried(self, step: Step, reason: str) -> None:
        """Count an attempt that failed and will be repeated."""
        self.recorder.add(series.RETRIES, step, reason)

    def request(
        self, peer: str, method: str, name: str, value: Value
    ) -> AbstractContextManager[Span]:
        """Open a request to `peer` for the block, with an attribute of this name."""
        if not self.tracer.is_on:
            return nullcontext(NO_SPAN)
        attributes = {"http.request.method": method, "peer.service": peer, name: value}
        return self.tracer.span(f"{method} {peer}", "client", attributes=attributes)

    def portal_answered(self, span: Span, court: str, status: int | None) -> None:
        """Count a portal request. `status` None: the portal did not answer."""
        if status is not None:
            span.set(HTTP_STATUS, status)
        self.recorder.add(series.PORTAL_ANSWERS, court, status_label(status))

    def webhook_attempted(self, outcome: str) -> None:
        """Count an attempt at a webhook."""
        self.recorder.add(series.WEBHOOK_ATTEMPTS, outcome)

    def scheduler_passed(self, seconds: float) -> None:
        """Count a pass of the leading scheduler, with its duration in seconds."""
        self.recorder.observe(series.SCHEDULER_PASS_SECONDS, value=seconds)


def status_label(status: int | None) -> str:
    """Return a status as a label. All unusual statuses share one value."""
    if status is None:
        return NO_ANSWER
    return str(status) if status in _KNOWN_STATUSES else "other"


NOOP_SIGNALS = Signals()
