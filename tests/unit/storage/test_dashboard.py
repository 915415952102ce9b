"""Test that the dashboard, the operators' page and the metrics of the processes agree."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dev.embedded.sandbox import ROOT
from server.observability.parts_up import TEXTS, PartsUp
from server.observability.row_metrics import families
from storage.health.gauges import Gauges
from storage.portal.case_budget import DAY_S, CaseLimit, LimitUse
from storage.spool import Spool
from storage.telemetry import series
from storage.telemetry.counters import ProcessGauges
from storage.telemetry.process_signals import scheduler_gauges, spool_gauges

REFERENCE = ROOT / "docs" / "reference"
COURT, STATE = {"8.26": 1}, {"PENDING": 1}
TIMES = {"8.26": 1.0}
SEEN = Gauges(
    is_login_refused=False,
    paused_s=0.0,
    at_once=10,
    requests=COURT,
    courts_away={"8.26": True},
    request_s=TIMES,
    jobs=STATE,
    jobs_waiting=0,
    jobs_over_budget=0,
    oldest_s=0.0,
    documents=STATE,
    webhooks_due=0,
    webhook_oldest_s=0.0,
    spools_in_trouble=0,
    is_bucket_in_trouble=False,
    is_store_refused=False,
    is_portal_untrusted=False,
    case_limits=(LimitUse(CaseLimit(None, DAY_S, 100), 1, None),),
)
PARTS = re.compile(r"_(?:bucket|sum|count)$")
# Labels that Prometheus itself adds.
ADDED = {"le", "instance", "job"}


@pytest.fixture
def shown(tmp_path: Path) -> dict[str, set[str]]:
    """Return the labels of every series of any process, by the name of the series."""
    counted = {each.shown_name: set(each.labels) for each in series.ALL}
    spool = spool_gauges(Spool(tmp_path, None, 1024))().collect()
    leads = scheduler_gauges(lambda: True)().collect()
    own = ProcessGauges(os.getpid()).collect()
    up = PartsUp(dict.fromkeys(TEXTS, lambda: None))
    gauges = (*families(SEEN), *up.collect(), *spool, *leads, *own)
    read = {each.name: set(each.samples[0].labels) for each in gauges}
    up.close()
    # The others are those of all programs with Prometheus' libraries.
    return counted | {name: labels for name, labels in read.items() if name.startswith("autos_")}


def _expressions() -> Iterator[str]:
    dashboard: dict[str, Any] = json.loads((REFERENCE / "autos-dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]


def _used() -> set[str]:
    names = (name for each in _expressions() for name in re.findall(r"autos_\w+", each))
    return {PARTS.sub("", name) for name in names}


def test_every_series_of_the_dashboard_is_shown_and_every_one_shown_is_on_it(
    shown: dict[str, set[str]],
) -> None:
    assert _used() == shown.keys()


def test_the_dashboard_queries_existing_labels(shown: dict[str, set[str]]) -> None:
    for expression in _expressions():
        [*names] = {PARTS.sub("", name) for name in re.findall(r"autos_\w+", expression)}
        known = ADDED.union(*(shown[name] for name in names))
        groupings = re.findall(r"by \(([^)]*)\)", expression)
        assert {label.strip() for each in groupings for label in each.split(",")} <= known


def test_panels_have_ids_of_their_own_and_lie_beside_each_other() -> None:
    panels = json.loads((REFERENCE / "autos-dashboard.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [
        (panel["gridPos"]["x"] + dx, panel["gridPos"]["y"] + dy)
        for panel in panels
        for dx in range(panel["gridPos"]["w"])
        for dy in range(panel["gridPos"]["h"])
    ]
    assert len(set(places)) == len(places)


def test_every_series_stands_in_the_page_of_the_operators_with_its_labels(
    shown: dict[str, set[str]],
) -> None:
    text = (REFERENCE / "metrics.md").read_text()
    documented = {
        name: set(filter(None, labels.split(", ")))
        for name, labels in re.findall(
            r"^\| `(autos_\w+)(?:\{([\w, ]*)\})?` \|", text, re.MULTILINE
        )
    }
    assert documented == shown


# The fields that the dashboard uses and that Grafana documents (JSON schema of its Foundation SDK,
# 2026): of panels, and the options that a kind of panel requires. A misspelt field is ignored by
# Grafana, so the panel would be empty.
FIELDS = {"id", "type", "title", "datasource", "gridPos", "fieldConfig", "options", "targets"}
ROW_FIELDS = {"id", "type", "title", "collapsed", "gridPos", "panels"}
DEFAULTS = {"unit", "decimals", "min", "max", "mappings", "thresholds", "color", "custom"}
OPTIONS = {
    "stat": {
        *("colorMode", "graphMode", "justifyMode", "orientation", "percentChangeColorMode"),
        *("reduceOptions", "showPercentChange", "textMode", "wideLayout"),
    },
    "timeseries": {"legend", "tooltip"},
}
TARGET = {"refId", "datasource", "expr", "legendFormat"}


def test_the_panels_have_the_fields_that_grafana_documents() -> None:
    dashboard = json.loads((REFERENCE / "autos-dashboard.json").read_text())
    [variable] = dashboard["templating"]["list"]
    source = {"type": "prometheus", "uid": "${" + variable["name"] + "}"}
    for panel in dashboard["panels"]:
        assert panel["gridPos"].keys() == {"h", "w", "x", "y"}
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        if panel["type"] == "row":
            assert panel.keys() == ROW_FIELDS
            continue
        assert panel.keys() == FIELDS
        assert panel["datasource"] == source
        assert panel["options"].keys() == OPTIONS[panel["type"]]
        assert panel["fieldConfig"].keys() == {"defaults", "overrides"}
        assert panel["fieldConfig"]["defaults"].keys() <= DEFAULTS
        assert [each["refId"] for each in panel["targets"]] == sorted(
            {each["refId"] for each in panel["targets"]}
        )
        for target in panel["targets"]:
            assert target.keys() == TARGET
            assert target["datasource"] == source
