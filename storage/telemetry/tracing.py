"""The interface for spans in Autos. Without an exporting tracer it costs almost nothing.

Only telemetry/otel.py imports OpenTelemetry, and only if tracing is configured.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import Literal

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
