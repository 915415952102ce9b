"""The metrics page: the gauges of `storage.health.gauges`, read when Prometheus scrapes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from server.observability.parts_up import PartsUp, SharedReading, checks_of
from storage.health import gauges
from storage.health.gauges import Gauges
from storage.login.login_values import Login
from storage.portal.case_budget import DAY_S, CaseBudget, LimitUse
from storage.portal.slots import Limits
from storage.postgres.database import Database
from storage.settings import Settings
from storage.telemetry.process_signals import listen, signals_of
from storage.telemetry.signals import Signals


class RowMetrics(Collector):
    """Collects the gauges of one scrape. Thread-safe: concurrent scrapes share one reading.

    `parts`: the gauges of the other servers. `clock`: monotonic seconds.
    """

    def __init__(
        self,
        read: Callable[[], Gauges],
        *,
        parts: PartsUp | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reading = SharedReading(read, clock)
        self._parts = parts

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield every metric family; without PostgreSQL only `autos_database_up`, which is 0."""
        self._reading.begin()
        if self._parts is not None:
            yield from self._parts.collect()
        yield from families(self._reading.newest())

    def close(self) -> None:
        """Wait for the readings that are under way."""
        if self._parts is not None:
            self._parts.close()
        self._reading.close()


@contextmanager
def served(settings: Settings) -> Iterator[Signals]:
    """Yield the signals of the server. While the context is open, its metrics page has the gauges.

    Raises ConfigurationError if METRICS_LISTEN cannot be bound.
    """
    if settings.metrics_listen is None:
        with signals_of(settings, "server", None) as signals:
            yield signals
        return
    listener = listen(settings.metrics_listen, "server")
    # A separate connection, so that scrapes and calls do not wait for each other.
    database = Database(settings.database_url, max_connections=1)
    limits, login, budget = Limits.of(settings), Login.of(settings), CaseBudget.of(settings)
    metrics = RowMetrics(
        lambda: gauges.read(database, limits, login, budget), parts=PartsUp(checks_of(settings))
    )
    try:
        with signals_of(settings, "server", listener, lambda: metrics) as signals:
            yield signals
    finally:
        metrics.close()
        database.close()


def families(seen: Gauges | None) -> Iterator[GaugeMetricFamily]:
    """Yield the metric families of a reading. `seen`: None if PostgreSQL did not answer."""
    yield _one(
        "autos_database_up",
        "1 while PostgreSQL answers in time; if 0, the gauges of its rows are missing",
        seen is not None,
    )
    if seen is None:
        return
    yield _one(
        "autos_portal_login_refused",
        "1 while the portal refuses the login and no request is sent",
        seen.is_login_refused,
    )
    yield _one(
        "autos_portal_untrusted",
        "1 while the portal's certificate is not trusted and no request is sent",
        seen.is_portal_untrusted,
    )
    yield _one(
        "autos_portal_paused_seconds",
        "Seconds left of the pause that the portal requested",
        seen.paused_s,
    )
    yield _one("autos_portal_limit", "Requests that may run at the portal at once", seen.at_once)
    yield _each("autos_portal_requests", "Requests at the portal", "court", seen.requests)
    yield _each("autos_court_away", "1 while the court is unavailable", "court", seen.courts_away)
    yield _each(
        "autos_court_request_seconds",
        "Seconds that a recent request took",
        "court",
        seen.request_s,
    )
    yield _each("autos_jobs", "Jobs that run", "state", seen.jobs)
    yield _each("autos_documents", "Documents of jobs that run", "state", seen.documents)
    yield _one(
        "autos_jobs_waiting",
        "Jobs that wait for the portal without a request under way",
        seen.jobs_waiting,
    )
    yield _one(
        "autos_queue_oldest_seconds",
        "Seconds since the run of the oldest waiting job began",
        seen.oldest_s,
    )
    yield _one(
        "autos_jobs_over_budget",
        "Jobs that wait because the budget of different cases is used up",
        seen.jobs_over_budget,
    )
    yield from _case_limits(seen.case_limits)
    yield _one("autos_webhooks_due", "Webhooks that are due", seen.webhooks_due)
    yield _one(
        "autos_webhook_oldest_seconds",
        "Seconds since the oldest due webhook became due",
        seen.webhook_oldest_s,
    )
    yield _one("autos_spools_in_trouble", "Spools that accept no files", seen.spools_in_trouble)
    yield _one(
        "autos_bucket_in_trouble",
        "1 while nothing is deleted from the bucket, because rows and objects do not agree",
        seen.is_bucket_in_trouble,
    )
    yield _one(
        "autos_store_refused",
        "1 while the bucket refuses files, and documents wait in the spools",
        seen.is_store_refused,
    )


def _case_limits(limits: Sequence[LimitUse]) -> Iterator[GaugeMetricFamily]:
    """Yield the use of the budget of different cases; nothing without a limit."""
    labels = ["court", "days"]
    used = GaugeMetricFamily(
        "autos_case_budget_cases", "Different cases listed in so many days", labels=labels
    )
    limit = GaugeMetricFamily("autos_case_budget_limit", "The limit for that", labels=labels)
    for use in limits:
        values = [use.limit.court or "all", str(use.limit.window_s // DAY_S)]
        used.add_metric(values, use.cases)
        limit.add_metric(values, use.limit.most or 0)
    yield from (used, limit) if limits else ()


def _one(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _each(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in sorted(values.items()):
        family.add_metric([key], value)
    return family
