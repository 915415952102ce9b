"""A receiver of traces by OTLP over HTTP, like a collector. A test can make it unavailable."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.sandbox.replies import whole
from tests.sandbox.serving import Handler, Server

PROTOBUF = "application/x-protobuf"


@dataclass(frozen=True, slots=True)
class SpanSeen:
    """A span as it was received; ids in hex, `parent_id` empty for a root."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    is_failed: bool
    failure: str
    attributes: dict[str, object]


class OtlpReceiver:
    """Collects received spans between `__enter__` and `__exit__`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._spans: list[SpanSeen] = []
        self._server: _TraceServer

    def __enter__(self) -> Self:
        self._server = _TraceServer(self).__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__(None, None, None)

    @property
    def url(self) -> str:
        """Return the value for OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def spans(self) -> list[SpanSeen]:
        """Return the spans so far."""
        with self._changed:
            return list(self._spans)

    def take(self, body: bytes) -> None:
        """Decode and store a request's spans."""
        with self._changed:
            self._spans += _decoded(body)
            self._changed.notify_all()

    def wait_for(
        self, condition: Callable[[list[SpanSeen]], bool], timeout_s: float
    ) -> list[SpanSeen]:
        """Return the spans once `condition` holds for them. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self._spans), timeout_s):
                raise TimeoutError(f"after {timeout_s} s only {[s.name for s in self._spans]}")
            return list(self._spans)


class _TraceServer(Server):
    def __init__(self, receiver: OtlpReceiver) -> None:
        super().__init__(0, _TraceHandler)
        self.receiver = receiver


class _TraceHandler(Handler):
    server: _TraceServer

    def answer(self) -> None:
        body = self.read_body()
        if self.command != "POST" or self.path != "/v1/traces":
            self.send_reply(whole(404, b"", PROTOBUF))
            return
        self.server.receiver.take(body)
        self.send_reply(whole(200, b"", PROTOBUF))


def _decoded(body: bytes) -> list[SpanSeen]:
    request = ExportTraceServiceRequest.FromString(body)
    return [
        _seen(str(_values(resource.resource.attributes)["service.name"]), span)
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _seen(service: str, span: trace_pb2.Span) -> SpanSeen:
    return SpanSeen(
        service=service,
        name=span.name,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        is_failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        failure=span.status.message,
        attributes=_values(span.attributes),
    )


def _values(attributes: object) -> dict[str, object]:
    return {each.key: _value(each) for each in attributes}  # type: ignore[attr-defined]


def _value(attribute: KeyValue) -> object:
    kind = attribute.value.WhichOneof("value")
    return getattr(attribute.value, kind) if kind else None
