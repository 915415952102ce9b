"""The interface for spans in Autos. Without an exporting tracer it costs almost nothing.

Only telemetry/otel.py imports OpenTelemetry, and only if tracing is configured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from types import MappingProxyType
from typing import Literal

from storage.errors import ConfigurationError

Kind = Literal["internal", "server", "client", "consumer"]
Value = str | int | float | bool
NONE: Mapping[str, Value] = MappingProxyType({})


class Span:
    """A piece of work in a trace. This class records nothing.

    Attributes have OpenTelemetry's names, or begin with autos. None contains a case, a person, a
    secret or a URL's query.
    """

    trace_id: str | None = None

    def set(self, name: str, value: Value) -> None:
        """Set an attribute."""

    def fail(self, reason: str) -> None:
        """Mark the work as failed. `reason` is a name of Autos, never an exception's text."""


NO_SPAN = Span()


class Tracer:
    """Make spans. This class makes none."""

    is_on = False

    def span(
        self,
        name: str,
        kind: Kind = "internal",
        *,
        traceparent: str | None = None,
        attributes: Mapping[str, Value] = NONE,
    ) -> AbstractContextManager[Span]:
        """Open a span for the block, below `traceparent` or the current span.

        An exception that leaves the block marks the span as failed, with the name of its class.
        """
        return nullcontext(NO_SPAN)

    def traceparent(self) -> str | None:
        """Return the traceparent of the current span, for work that continues elsewhere."""
        return None

    def close(self) -> None:
        """Send the remaining spans within a short time limit; the process ends."""


NO_TRACER = Tracer()


@contextmanager
def closing(tracer: Tracer) -> Iterator[Tracer]:
    """Close `tracer` after the block."""
    try:
        yield tracer
    finally:
        tracer.close()


def require_opentelemetry() -> None:
    """Raise ConfigurationError if the libraries for traces are not installed."""
    try:
        is_there = find_spec("opentelemetry.sdk") is not None
    except ImportError:
        is_there = False
    if not is_there:
        raise ConfigurationError(
            "OTEL_EXPORTER_OTLP_ENDPOINT needs OpenTelemetry, which is not installed; "
            "install requirements-traces.txt or unset it."
        )


def tracer_of(endpoint: str | None, process: str) -> Tracer:
    """Return the tracer that sends to the OTLP receiver at `endpoint`; None: no tracing.

    Call this after a fork, because the tracer has a thread. Raises ConfigurationError if
    OpenTelemetry is not installed.
    """
    if endpoint is None:
        return NO_TRACER
    require_opentelemetry()
    from storage.telemetry.otel import OtelTracer

    return OtelTracer(endpoint, process)
