"""The sandbox's own routes below /sandbox, by which tests and people control it over HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.sandbox import replies
from tests.sandbox.admission import timeline
from tests.sandbox.latency_profile import Burst, Latency
from tests.sandbox.portal_state import PortalState
from tests.sandbox.replies import Reply, as_json, problem


def control(portal: PortalState, method: str, target: str, body: bytes) -> Reply:
    """Answer a request below /sandbox; an answer of 400 names the error."""
    url = urlsplit(target)
    action = _ACTIONS.get((method, url.path))
    if action is None:
        return replies.NOT_FOUND
    query = {name: values[-1] for name, values in parse_qs(url.query).items()}
    try:
        return as_json(200, action(portal, query, body))
    except (ValueError, KeyError, TypeError) as error:
        return problem(400, f"{type(error).__name__}: {error}")


def _log(portal: PortalState, query: dict[str, str], body: bytes) -> Any:
    return [asdict(request) for request in portal.journal.requests(query.get("case"))]


def _clear_log(portal: PortalState, query: dict[str, str], body: bytes) -> Any:
    portal.clear_log()
    return {}


def _peak(portal: PortalState, query: dict[str, str], body: bytes) -> Any:
    return {"peak": portal.concurrent_peak}


def _traffic(portal: PortalState, query: dict[str, str], body: bytes) -> Any:
    traffic = portal.traffic
    counts = {"peak": traffic.peak, "peaks": traffic.peaks, "refused": traffic.refused}
    return {**counts, "limit": traffic.limit, "retry_after_s": traffic.retry_after_s}


def _set_traffic(portal: PortalState, query: dict[str, str], body: bytes) -> Any:
    asked = json.loads(body)
    limit, retry_after_s = asked["limit"], asked.get("retry_after_s")
    if not (limit is None or isinstance(limit, int)):
        raise ValueError("limit is a whole number or null")
    portal.traffic.retry_after_s = None if retry_after_s is None else float(retry_after_s)
    portal.traffic.limit = limit
    return {"time": time.time()}


def _visits(portal: PortalState, query: dict[str, str], body: bytes) -> Any:
    return [asdict(visit) for visit in portal.traffic.visits]


def _timeline(portal: PortalState, query: dict[str, str], body: bytes) -> Any:
    court = query.get("court")
    return timeline(visit for visit in portal.traffic.visits if court in {None, visit.court})


def _set_latency(portal: PortalState, query: dict[str, str], body: bytes) -> Any:
    asked = json.loads(body)
    portal.weather.latency(None if asked is None else Latency(**asked))
    return {}


def _plan_bursts(portal: PortalState, query: dict[str, str], body: bytes) -> Any:
    return {"time": portal.weather.plan([Burst(**burst) for burst in json.loads(body)])}


def _reset(portal: PortalState, query: dict[str, str], body: bytes) -> Any:
    portal.reset()
    return {}


def _add_case(portal: PortalState, query: dict[str, str], body: bytes) -> Any:
    asked = json.loads(body)
    latency_s = asked.pop("latency_ms", 0) / 1000
    faults = {int(index): name for index, name in asked.pop("faults", {}).items()}
    return {"number": portal.add_case(latency_s=latency_s, faults=faults, **asked)}


def _hold(portal: PortalState, query: dict[str, str], body: bytes) -> Any:
    after_bytes = query.get("after_bytes")
    portal.hold(query["case"], after_bytes=None if after_bytes is None else int(after_bytes))
    return {}


def _held(portal: PortalState, query: dict[str, str], body: bytes) -> Any:
    gate = portal.gates.at(query["case"])
    return {"waiting": gate.waiting if gate else 0}


def _release(portal: PortalState, query: dict[str, str], body: bytes) -> Any:
    portal.release(query["case"])
    return {}


_ACTIONS: dict[tuple[str, str], Callable[[PortalState, dict[str, str], bytes], Any]] = {
    ("GET", "/sandbox/log"): _log,
    ("DELETE", "/sandbox/log"): _clear_log,
    ("GET", "/sandbox/peak"): _peak,
    ("GET", "/sandbox/traffic"): _traffic,
    ("PUT", "/sandbox/traffic"): _set_traffic,
    ("GET", "/sandbox/visits"): _visits,
    ("GET", "/sandbox/timeline"): _timeline,
    ("PUT", "/sandbox/latency"): _set_latency,
    ("PUT", "/sandbox/bursts"): _plan_bursts,
    ("POST", "/sandbox/reset"): _reset,
    ("POST", "/sandbox/cases"): _add_case,
    ("POST", "/sandbox/hold"): _hold,
    ("GET", "/sandbox/hold"): _held,
    ("POST", "/sandbox/release"): _release,
}
