"""Every series that a process counts itself, and the recorder, whose default counts nothing.

Series read from rows are in row_metrics.py.

No label contains a case, a job or a document, and each has few values: a court (about 90), a state,
a status, a method of Autos.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from storage import event_counters
from storage.states import JOB_ENDS


class Kind(Enum):
    """The type of a series for Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """A series. `name` is the name in Prometheus, without the _total of a counter."""

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...]
    buckets_s: tuple[float, ...] = ()

    @property
    def shown_name(self) -> str:
        """Return the name as in queries; for a histogram, without _bucket, _sum and _count."""
        return f"{self.name}_total" if self.kind is Kind.COUNTER else self.name


def _counter(name: str, text: str, *labels: str) -> Series:
    return Series(name, Kind.COUNTER, text, labels)


RPC_STARTED = _counter("autos_rpc_started", "Calls that have begun", "method")
RPC_HANDLED = _counter("autos_rpc_handled", "Calls that are over, by their code", "method", "code")
RPCS_OPEN = Series("autos_rpcs_open", Kind.GAUGE, "Calls that are under way", ("method",))
RPC_SECONDS = Series(
    "autos_rpc_seconds",
    Kind.HISTOGRAM,
    "Seconds until a call was answered; of a stream until its first message",
    ("method",),
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

JOBS_ENDED = _counter(event_counters.JOBS_ENDED, "Runs of jobs that have ended", "state")
DOCUMENTS_ENDED = _counter(
    event_counters.DOCUMENTS_ENDED,
    "Documents that are over; why they failed, or REUSED for what was stored before",
    "state",
    "reason",
)
LEASES_LOST = _counter(
    event_counters.LEASES_LOST, "Claims taken from a holder that gave no sign of life", "step"
)

OBJECTS_SWEPT = _counter(
    event_counters.OBJECTS_SWEPT, "Objects without a row that were deleted from the bucket"
)

CONNECTIONS_BUSY = Series(
    event_counters.CONNECTIONS_BUSY, Kind.GAUGE, "Connections to PostgreSQL in use", ()
)
CONNECTIONS_LIMIT = Series(
    event_counters.CONNECTIONS_LIMIT, Kind.GAUGE, "Connections that the pools may have", ()
)
CONNECTION_WAITS = _counter(
    event_counters.CONNECTION_WAITS, "Waits for a connection, because all were in use"
)
CONNECTION_WAIT_SECONDS = _counter(event_counters.CONNECTION_WAIT_SECONDS, "Seconds of these waits")

STEP_SECONDS = Series(
    "autos_step_seconds",
    Kind.HISTOGRAM,
    "Seconds that an attempt at a step took, whatever came of it",
    ("step",),
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
STEP_BYTES = _counter("autos_step_bytes", "Bytes of documents that passed a step", "step")
RETRIES = _counter("autos_retries", "Attempts that failed and are made again", "step", "reason")
PORTAL_ANSWERS = _counter("autos_portal_answers", "Answers of the portal", "court", "status")
WEBHOOK_ATTEMPTS = _counter(
    "autos_webhook_attempts", "Attempts at webhooks, by what came of them", "outcome"
)

SCHEDULER_PASS_SECONDS = Series(
    "autos_scheduler_pass_seconds",
    Kind.HISTOGRAM,
    "Seconds that a pass of the leading scheduler took: reading, choosing, sending proposals",
    (),
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)

ALL = (
    *(RPC_STARTED, RPC_HANDLED, RPCS_OPEN, RPC_SECONDS),
    *(JOBS_ENDED, DOCUMENTS_ENDED, LEASES_LOST, OBJECTS_SWEPT),
    *(CONNECTIONS_BUSY, CONNECTIONS_LIMIT, CONNECTION_WAITS, CONNECTION_WAIT_SECONDS),
    *(STEP_SECONDS, STEP_BYTES, RETRIES, PORTAL_ANSWERS, WEBHOOK_ATTEMPTS),
    SCHEDULER_PASS_SECONDS,
)
# Every process shows these as 0 from its start. Prometheus sees no increase in a series that begins
# at 1. An increase that comes all at once, such as the lost claims of a killed process, would never
# be visible.
FROM_THE_START = (
    *((LEASES_LOST, step) for step in ("list", "download", "upload", "webhook")),
    *((JOBS_ENDED, state.value) for state in sorted(JOB_ENDS)),
)
BY_NAME = {series.name: series for series in ALL}


class MetricsRecorder:
    """Take events and discard them. Never raises; costs almost no time; thread-safe."""

    def add(self, series: Series, *labels: str, by: float = 1) -> None:
        """Add to a counter or a gauge."""

    def observe(self, series: Series, *labels: str, value: float) -> None:
        """Add one measurement to a histogram."""

    def counted(self, name: str, labels: tuple[str, ...], number: float) -> None:
        """Add to a series by its name, for `Database(on_count=...)`."""
        self.add(BY_NAME[name], *labels, by=number)


NOOP_RECORDER = MetricsRecorder()
