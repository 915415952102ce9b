"""The tracer that exports over OTLP/HTTP, with OpenTelemetry's SDK.

A thread of its own sends the spans from a queue of limited length. If the receiver is unavailable
and the queue is full, new spans are dropped. The SDK reads its own OTEL_* variables: sampling,
headers, limits of the queue.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from storage.telemetry.tracing import NONE, Kind, Span, Tracer, Value

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# The time limit of one request to the receiver, including its retries.
EXPORT_TIMEOUT_S = 10.0
# How long the end of a process waits for the last spans.
CLOSE_TIMEOUT_S = 2.0
_KINDS: dict[Kind, SpanKind] = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "consumer": SpanKind.CONSUMER,
}
_W3C = TraceContextTextMapPropagator()


class OtelTracer(Tracer):
    """Send the spans of `process` to the OTLP receiver at `endpoint` (scheme, host, path)."""

    is_on = True

    def __init__(self, endpoint: str, process: str) -> None:
        # The SDK logs each failure, with the text of the receiver.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._provider = TracerProvider(
            resource=Resource.create({SERVICE_NAME: f"autos-{process}"}), shutdown_on_exit=False
        )
        exporter = OTLPSpanExporter(
            endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_TIMEOUT_S
        )
        self._provider.add_span_processor(BatchSpanProcessor(_Told(exporter)))
        self._tracer = self._provider.get_tracer("autos")

    @contextmanager
    def span(
        self,
        name: str,
        kind: Kind = "internal",
        *,
        traceparent: str | None = None,
        attributes: Mapping[str, Value] = NONE,
    ) -> Iterator[Span]:
        """Open a span for the block, below `traceparent` or the current span."""
        with self._tracer.start_as_current_span(
            name,
            context=_context(traceparent),
            kind=_KINDS[kind],
            attributes=attributes,
            # Its text may contain a URL or a case.
            record_exception=False,
            set_status_on_exception=False,
        ) as inner:
            span = _OtelSpan(inner)
            try:
                yield span
            except BaseException as error:
                span.fail(type(error).__name__)
                raise

    def traceparent(self) -> str | None:
        """Return the traceparent of the current span (W3C Trace Context)."""
        carrier: dict[str, str] = {}
        _W3C.inject(carrier)
        return carrier.get("traceparent")

    def close(self) -> None:
        """Send the remaining spans, for CLOSE_TIMEOUT_S at most."""
        # The SDK itself would wait 30 s for an unavailable receiver.
        last = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        last.start()
        last.join(CLOSE_TIMEOUT_S)


class _OtelSpan(Span):
    def __init__(self, inner: trace.Span) -> None:
        self._inner = inner
        self.trace_id = trace.format_trace_id(inner.get_span_context().trace_id)

    def set(self, name: str, value: Value) -> None:
        self._inner.set_attribute(name, value)

    def fail(self, reason: str) -> None:
        self._inner.set_status(Status(StatusCode.ERROR, reason))


class _Told(SpanExporter):
    """Log once that spans cannot be sent, and once that they can be sent again."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self._is_away = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._inner.export(spans)
        is_away = result is not SpanExportResult.SUCCESS
        if is_away and not self._is_away:
            log.warning("traces not sent; spans are dropped until they can be")
        if self._is_away and not is_away:
            log.info("traces sent again")
        self._is_away = is_away
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)


def _context(traceparent: str | None) -> Context | None:
    return _W3C.extract({"traceparent": traceparent}) if traceparent else None
