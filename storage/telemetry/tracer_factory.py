"""The tracer of a process, by its settings."""

from __future__ import annotations

from importlib.util import find_spec

from storage.errors import ConfigurationError
from storage.telemetry.tracing import NO_TRACER, Tracer


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
    # Loaded here, because a process without traces does not need the libraries.
    from storage.telemetry.otel import OtelTracer

    return OtelTracer(endpoint, process)
