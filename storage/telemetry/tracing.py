"""Spans, as the rest of Autos knows them. Without a tracer that exports they cost next to nothing.

OpenTelemetry is imported by telemetry/otel.py only, and that only when tracing is configured.
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
    """A piece of work in a trace; this one is not recorded.

    Attributes have OpenTelemetry's names, or begin with autos. None names a case or a person, holds
    a secret or a URL's query.
    """

    trace_id: str | None = None

    def set(self, name: str, value: Value) -> None:
        """Gives an attribute a value."""

    def fail(self, reason: str) -> None:
        """Says that the work failed. `reason` is a name of ours, never an exception's text."""


NO_SPAN = Span()


class Tracer:
    """Makes spans; this one makes none."""

    is_on = False

    def span(
        self,
        name: str,
        kind: Kind = "internal",
        *,
        traceparent: str | None = None,
        attributes: Mapping[str, Value] = NONE,
    ) -> AbstractContextManager[Span]:
        """A span for the length of the block, below `traceparent` or the present one.

        What leaves the block as an exception fails it, by the name of its class.
        """
        return nullcontext(NO_SPAN)

    def traceparent(self) -> str | None:
        """Where the present span stands, for whoever goes on elsewhere."""
        return None

    def close(self) -> None:
        """Sends what is left, for a moment at most; the process ends."""


NO_TRACER = Tracer()


@contextmanager
def closing(tracer: Tracer) -> Iterator[Tracer]:
    """Closes `tracer` after the block."""
    try:
        yield tracer
    finally:
        tracer.close()


def require_opentelemetry() -> None:
    """Raises ConfigurationError when what sends traces is not installed."""
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
    """The tracer that sends to the OTLP receiver at `endpoint`; None: nothing is traced.

    To be called after a fork: it sends from a thread of its own. Raises ConfigurationError when
    OpenTelemetry is not installed.
    """
    if endpoint is None:
        return NO_TRACER
    require_opentelemetry()
    from storage.telemetry.otel import OtelTracer

    return OtelTracer(endpoint, process)
